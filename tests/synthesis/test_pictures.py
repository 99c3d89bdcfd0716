"""Film, overlays, paint and wear: what each knob does, and that people differ."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dfer_edge.synthesis import ClipSettings, FaceModel, FaceRenderer, accessories
from dfer_edge.synthesis.animation import NEUTRAL_LABEL
from dfer_edge.synthesis.atlas import HEIGHT, WIDTH, shifted, unwrap
from dfer_edge.synthesis.background import draw_background
from dfer_edge.synthesis.face_model import SKIN
from dfer_edge.synthesis.native import NATIVE
from dfer_edge.synthesis.overlay import Occluder, motion_blur
from dfer_edge.synthesis.painting import HAIR_COLOURS, SKIN_TONES, Look, paint
from dfer_edge.synthesis.scene import draw_light
from dfer_edge.synthesis.sensor import Film, develop, draw_film, exposure, finish


def _clean() -> Film:
    return draw_film(np.random.default_rng(0), 0.0)


def _noisy_picture(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    return rng.uniform(0.2, 0.8, (size, size, 3)).astype(np.float32)


def test_a_clean_film_only_rounds(rng: np.random.Generator) -> None:
    image = _noisy_picture(rng)
    np.testing.assert_array_equal(finish(_clean(), image, rng), np.round(image * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "softer"),
    [({"blur_sigma": 1.0}, True), ({"shrink": 0.5}, True), ({"sharpen": 0.8}, False), ({"contrast": 1.4}, False)],
)
def test_resampling_goes_both_ways(rng: np.random.Generator, change: dict[str, float], softer: bool) -> None:
    image = _noisy_picture(rng)
    before = np.abs(np.diff(finish(_clean(), image, rng).astype(float), axis=1)).mean()
    after = np.abs(np.diff(finish(dataclasses.replace(_clean(), **change), image, rng).astype(float), axis=1)).mean()
    assert (after < 0.8 * before) if softer else (after > 1.15 * before)


def test_grey_noise_is_grey_and_quality_compresses(rng: np.random.Generator) -> None:
    flat = np.full((32, 32, 3), 0.5, np.float32)
    grey = finish(dataclasses.replace(_clean(), noise=0.05, grey_noise=True), flat, rng).astype(int)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert 8 < grey.std() < 18
    image = _noisy_picture(rng)
    squeezed = finish(dataclasses.replace(_clean(), quality=30), image, rng)
    assert 2 < np.abs(squeezed.astype(int) - np.round(image * 255)).mean() < 60


def test_exposure_brings_the_face_to_the_film(rng: np.random.Generator) -> None:
    linear = np.zeros((40, 40, 4), np.float32)
    linear[5:35, 5:35] = (0.02, 0.02, 0.02, 1.0)
    film = dataclasses.replace(_clean(), shoulder=False)
    black = np.zeros((40, 40, 3), np.float32)
    shown = develop(film, linear, black, None, exposure(film, linear, 0.3))
    assert shown[20, 20, 0] == pytest.approx(film.brightness, rel=0.01)
    dark = develop(film, linear, black, None, exposure(film, linear, 0.05))
    assert dark[20, 20, 0] < shown[20, 20, 0]


def test_an_empty_picture_develops_to_numbers() -> None:
    nothing = np.zeros((16, 16, 4), np.float32)
    wall = np.full((16, 16, 3), 0.25, np.float32)
    shown = develop(_clean(), nothing, wall, None, exposure(_clean(), nothing, 0.3))
    np.testing.assert_allclose(shown, wall, atol=1e-6)


@pytest.mark.parametrize("lit", [False, True])
@pytest.mark.parametrize(
    "change", [{}, {"shoulder": True}, {"shoulder": True, "curve": 0.9, "gamma": 1.3}, {"gamma": 0.8}]
)
def test_developing_in_float64(rng: np.random.Generator, change: dict[str, float], lit: bool) -> None:
    """The native pass, sizes that fill no vector: linear light over its coverage, then tone, then what is behind."""
    film = dataclasses.replace(_clean(), **({"shoulder": False} | change))
    cover = rng.choice([0.0, 0.25, 0.5, 1.0], (13, 11, 1))
    linear = np.concatenate([cover * rng.uniform(0.0, 3.0, (13, 11, 3)) ** 3, cover], axis=2).astype(np.float32)
    wall = rng.random((13, 11, 3), np.float32)
    patch = rng.uniform(0.4, 1.0, (13, 11, 1)).astype(np.float32) if lit else None

    light = np.clip(linear[..., :3].astype(np.float64) / np.maximum(cover, 0.25) * 0.7, 0, 4)
    light = light * 1.15 / (1 + 0.25 * light) if film.shoulder else light
    face = np.minimum(light, 1) ** (1 / 2.2) * (1.0 if patch is None else patch)
    image = wall + cover * (face - wall)
    image += film.curve * (image**2 * (3 - 2 * image) - image)
    want = np.clip(image, 0, 1) ** film.gamma
    np.testing.assert_allclose(develop(film, linear, wall, patch, 0.7), want, atol=2e-5)


def test_colour_is_contrast_then_saturation_then_tint(rng: np.random.Generator) -> None:
    image = rng.uniform(0.4, 0.6, (9, 7, 3)).astype(np.float32)
    tint = np.array([1.05, 1.0, 0.9])
    film = dataclasses.replace(_clean(), contrast=1.4, saturation=0.3, tint=tint)
    want = (image - image.mean()) * 1.4 + image.mean()
    grey = want.mean(axis=2, keepdims=True)
    want = np.clip((grey + 0.3 * (want - grey)) * tint, 0, 1) * 255
    assert np.abs(finish(film, image, rng) - want).max() < 0.51


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_bytes_are_rounded_and_clipped(rng: np.random.Generator, channels: int) -> None:
    image = rng.uniform(-0.5, 1.5, (13, 11, 3)).astype(np.float32)
    noise = rng.standard_normal((13, 11, channels), np.float32) if channels else None
    want = np.clip(image + (0.0 if noise is None else 0.1 * noise), 0, 1) * 255
    assert np.abs(NATIVE.to_bytes(image, noise, 0.1) - want).max() < 0.501
    with pytest.raises(ValueError, match="noise: expected"):
        NATIVE.to_bytes(image, image[..., :2], 0.1)


@pytest.mark.parametrize("move", [(9.0, 0.0), (0.0, -7.0), (5.0, 5.0), (300.0, 0.0)])
def test_motion_blur_smears_along_the_way_and_keeps_light(move: tuple[float, float]) -> None:
    picture = np.zeros((61, 61, 4), np.float32)
    picture[30, 30] = 1.0
    smeared = motion_blur(picture, np.array(move))
    assert smeared.sum() == pytest.approx(picture.sum(), rel=1e-4)
    rows, columns = np.nonzero(smeared[..., 0] > 1e-3)
    along = np.array(move) / np.hypot(*move)
    spread = np.stack([columns - 30, rows - 30], axis=1)
    assert np.abs(spread @ along).max() >= min(np.hypot(*move), 24) / 2 - 1.6
    assert np.abs(spread @ (-along[1], along[0])).max() < 1.6


def test_a_still_face_is_not_smeared(rng: np.random.Generator) -> None:
    picture = rng.random((8, 8, 4), np.float32)
    assert motion_blur(picture, np.array([0.3, 0.2])) is picture


def test_an_occluder_moves_with_the_face() -> None:
    occluder = Occluder(np.array([[[0.0, 0.0], [0.0, 0.0]]]), 0.1, np.array([0.2, 0.1, 0.1]))
    places = []
    for shift in ((0.0, 0.0), (10.0, -5.0)):
        linear = np.zeros((80, 80, 4), np.float32)
        occluder.draw(linear, np.array(shift), 1.0)
        rows, columns = np.nonzero(linear[..., 3] > 0.5)
        places.append((columns.mean(), rows.mean()))
    np.testing.assert_allclose(np.subtract(*places[::-1]), (10, -5), atol=0.3)


@pytest.mark.parametrize("size", [16, 37, 64])
def test_backgrounds_are_pictures(size: int) -> None:
    means = []
    for seed in range(40):
        picture = draw_background(np.random.default_rng(seed), size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1
        means.append(picture.mean())
    assert np.std(means) > 0.1


def test_lights_are_lights() -> None:
    for seed in range(100):
        light = draw_light(np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(light.lamps[:, :3], axis=1), 1, atol=1e-5)
        assert light.lamps[:, 3:].min() >= 0
        assert light.ambient[0].min() > 0


def test_the_unwrapped_cylinder() -> None:
    nose, left, top = unwrap(np.array([[0.0, 0.0, 10.0], [8.0, 0.0, 2.0], [0.0, 14.8, 3.0]]))
    assert nose[0] == pytest.approx((WIDTH - 1) / 2)
    assert left[0] > nose[0], "the subject's left is on the texture's right"
    assert top[1] == pytest.approx(0)
    assert nose[1] == pytest.approx(14.8 / 32 * (HEIGHT - 1))


def test_shifting_on_the_texture_is_what_unwrapping_sees(rng: np.random.Generator) -> None:
    points = rng.uniform((-6, -10, 6), (6, 10, 12), (9, 3))
    texels = rng.uniform(-9, 9, (9, 2))
    np.testing.assert_allclose(unwrap(shifted(points, texels)), unwrap(points) + texels, atol=1e-3)


def test_brow_landmarks_lie_on_the_painted_brow(ict: FaceRenderer) -> None:
    """Dark brows on fair skin: the texture under the landmarks, a little lower, is darker than above and below."""
    atlas, contrasts = ict.atlas, []
    for seed in range(12):
        look = Look(0.2, False, SKIN_TONES[0].astype(np.float32), HAIR_COLOURS[0], "bald", HAIR_COLOURS[0])
        texels, _, shift = paint(np.random.default_rng(seed), atlas, look)
        texture = texels / 32767
        rest = ict.model.neutral[ict.model.landmarks][17:27]
        marks = unwrap(shifted(rest, shift))[[1, 2, 3, 6, 7, 8]].round().astype(int)
        brow, above, below = (texture[marks[:, 1] + step, marks[:, 0], 0].mean() for step in (2, -9, 16))
        contrasts.append((above - brow, below - brow))
    assert np.median(contrasts, axis=0).min() > 0.15


def test_blend_is_a_weighted_mean(rng: np.random.Generator) -> None:
    texture = rng.random((5, 7, 4), np.float32)
    alpha, shade = rng.random((5, 7), np.float32), rng.random((5, 7), np.float32)
    colour = np.float32([0.2, 0.5, 0.9])
    want = texture.copy()
    want[..., :3] += alpha[..., None] * (colour * shade[..., None] - want[..., :3])
    NATIVE.blend(texture, alpha, colour, shade)
    np.testing.assert_allclose(texture, want, atol=1e-6)
    with pytest.raises(ValueError, match="alpha: expected 35"):
        NATIVE.blend(texture, alpha[:4], colour)


def test_meshes_worn_are_sound(fake: FaceModel, rng: np.random.Generator) -> None:
    marks = fake.neutral[fake.landmarks]
    for _ in range(10):
        meshes = [
            *accessories.glasses(rng, marks),
            accessories.long_hair(rng, np.array([0.1, 0.1, 0.1]), -12.0),
            accessories.shoulders(rng, np.array([0.3, 0.3, 0.3])),
        ]
        for mesh in meshes:
            assert np.isfinite(mesh.vertices).all()
            assert 0 <= mesh.triangles.min() <= mesh.triangles.max() < len(mesh.vertices)
            assert len(mesh.colour) == len(mesh.vertices)


def test_glasses_sit_before_the_eyes(ict: FaceRenderer, rng: np.random.Generator) -> None:
    marks = ict.model.neutral[ict.model.landmarks]
    rim = accessories.glasses(rng, marks)[0].vertices
    for eye in (marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)):
        near = rim[np.abs(rim[:, 0] - eye[0]) < 3]
        assert near[:, 1].min() < eye[1] < near[:, 1].max()
        assert np.median(near[:, 2]) > eye[2]


def test_people_differ(ict: FaceRenderer) -> None:
    people = [ict.person(np.random.default_rng(seed)) for seed in range(36)]
    tones = np.array([each.look.skin.mean() for each in people])
    assert tones.min() < 0.12
    assert tones.max() > 0.5
    assert len({each.look.style for each in people}) >= 6
    shapes = np.array([each.landmarks for each in people])
    assert shapes.std(axis=0).mean() > 0.15, "cm"


def test_a_face_stands_out_of_its_background(ict: FaceRenderer) -> None:
    """Skin where the landmarks are: a face in the middle of the view, lit and not flat."""
    for index in range(8):
        clip = ict.clip((21, index), NEUTRAL_LABEL, ClipSettings(frames=1, size=96, pose_spread=0.3, degrade=0.0))
        middle = clip.frames[0][24:72, 24:72].astype(float)
        assert 40 < middle.mean() < 200
        assert middle.std() > 12


def test_skin_is_all_of_the_head(fake: FaceModel) -> None:
    assert (fake.materials == SKIN).sum() > 20_000
