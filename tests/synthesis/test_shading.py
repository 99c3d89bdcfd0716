"""Light, shadow, occlusion and eyes on scenes whose picture is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.synthesis.plates import ACCESSORY, LEFT_EYE, MATTE, RIGHT_EYE, ball, person, plate, render

WALL = plate((-9, 9), (-9, 9), 0.0)


@pytest.mark.parametrize("degrees", [0, 30, 60, 89])
def test_a_matte_plate_follows_the_cosine(degrees: float) -> None:
    angle = np.radians(degrees)
    image = render(person(WALL), key=(np.sin(angle), 0, np.cos(angle)))
    np.testing.assert_allclose(image[16, 16], [0.5 * np.cos(angle)] * 3 + [1], atol=2e-3)


def test_light_from_behind_leaves_the_ambient_alone() -> None:
    image = render(person(WALL), key=(0, 0, -1), ambient=0.3)
    np.testing.assert_allclose(image[16, 16, :3], 0.15, atol=1e-5)


def test_coverage_is_the_share_of_four_samples() -> None:
    # 33 pixels see 20 cm; the right edge of the plate lies in the middle of pixel 20.
    edge = (20.5 - 16.5) * 20 / 33
    image = render(person(plate((-9, edge + 0.01), (-9, 9), 0.0)))
    np.testing.assert_allclose(image[16, 18:23, 3], [1, 1, 0.5, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(image[0], 0)


def test_a_plate_seen_from_behind_is_not_there_unless_two_sided() -> None:
    scene = person(plate((-9, 9), (-9, 9), 0.0, material=ACCESSORY, flip=True))
    assert render(scene)[..., 3].max() == 0
    surfaces = MATTE.copy()
    surfaces[ACCESSORY, 3] = 1
    image = render(scene, surfaces=surfaces)
    assert image[16, 16, 0] == pytest.approx(0.5, abs=2e-3), "lit as the side that the camera sees"


def test_the_nearer_plate_hides_the_farther() -> None:
    image = render(person(WALL, plate((-2, 2), (-2, 2), 1.0, colour=(0.9, 0.1, 0.2))))
    np.testing.assert_allclose(image[16, 16, :3], [0.9, 0.1, 0.2], atol=2e-3)
    np.testing.assert_allclose(image[16, 5, :3], 0.5, atol=2e-3)


def test_a_shadow_falls_where_the_light_says() -> None:
    # A plate 5 cm before the wall, light from the upper left at 45 degrees: the shadow lies 5 cm right and below.
    scene = person(WALL, plate((-5, -2), (2, 5), 5.0))
    slant = np.array([-1.0, 1.0, 1.0])
    image = render(scene, key=slant / np.linalg.norm(slant), shadow=1.0)
    lit = 0.5 / np.sqrt(3)

    def at(x: float, y: float) -> float:
        return float(image[int(16.5 - y * 33 / 20), int(16.5 + x * 33 / 20), 0])

    assert at(1.5, -1.5) < 0.15 * lit, "5 cm to the right of and below the middle of the plate"
    for x, y in ((-7.5, -7.5), (6.5, -6.5), (1.5, 6), (-6.5, -1.5)):
        assert at(x, y) == pytest.approx(lit, rel=0.05), (x, y)
    without = render(scene, key=slant / np.linalg.norm(slant), shadow=0.0)
    assert without[int(16.5 + 1.5 * 33 / 20), int(16.5 + 1.5 * 33 / 20), 0] == pytest.approx(lit, rel=1e-3)


def test_a_lone_plate_does_not_shade_itself() -> None:
    image = render(person(WALL), key=(0.6, 0.3, 0.74), shadow=1.0)
    assert image[4:29, 4:29, 0].min() == pytest.approx(0.37, abs=0.01)


def test_a_corner_is_darker_than_an_open_wall() -> None:
    occlusion = np.float32([0.35, 0.5, 1.2, 0.22, 1.0])
    scene = person(WALL, plate((-9, -1), (-9, 9), 1.5))
    image = render(scene, size=64, ambient=1.0, power=0.0, occlusion=occlusion)
    for column in (29, 30, 33, 50):
        # A step of 1.5 cm seen through two Gaussians, as the definition says.
        away = (column + 0.5) * 20 / 64 - 10 - (-1)
        near, wide = (0.5 * math.erfc(away / radius / math.sqrt(2)) for radius in (0.35, 1.2))
        expected = 0.5 * (1 - 1.5 * (0.5 * near + 0.22 * wide))
        assert image[32, column, 0] == pytest.approx(expected, abs=0.03), column
    assert image[32, 29, 0] < 0.8 * image[32, 50, 0]


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.4, 0.0), (-0.3, 0.2), (0.0, -0.35)])
def test_the_pupil_is_where_the_eye_looks(yaw: float, pitch: float) -> None:
    left, right = ball((4, 0, 0), 3.0, LEFT_EYE), ball((-4, 0, 0), 3.0, RIGHT_EYE)
    count = len(left[0])
    scene = person(left, right, eyes=(0, count, count, 2 * count))
    size = 96
    image = render(
        scene,
        size=size,
        ambient=1.0,
        power=0.0,
        gaze=np.float32([yaw, pitch, yaw, pitch]),
        eye_radii=np.float32([1.0, 0.5]),
    )
    for centre in (4.0, -4.0):
        x = np.arange(size)[None, :] * 20 / size - 10 + 10 / size
        dark = (image[..., 0] < 0.05) & (image[..., 3] == 1) & (np.abs(x - centre) < 3)
        rows, columns = np.nonzero(dark)
        assert len(rows) > 8
        want_x, want_y = centre + 3 * np.sin(yaw) * np.cos(pitch), 3 * np.sin(pitch)
        assert columns.mean() * 20 / size - 10 == pytest.approx(want_x, abs=0.35)
        assert 10 - rows.mean() * 20 / size == pytest.approx(want_y, abs=0.35)


@pytest.mark.parametrize("size", [1, 2, 17, 31])
def test_any_size_renders(size: int) -> None:
    image = render(person(WALL), size=size)
    assert image.shape == (size, size, 4)
    assert np.isfinite(image).all()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": 0}, "size"),
        ({"rotation": np.zeros(8, np.float32)}, "rotation: expected 9 numbers, got 8"),
        ({"lights": np.zeros((2, 6), np.float32)}, "lights: expected 18"),
        ({"distance": 0.0}, "distance"),
    ],
)
def test_bad_frames_are_refused(change: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        render(person(WALL), **change)
