"""Crops, colours and sampling: what moves moves together, what is drawn is seeded."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from dfer_edge import kernels
from dfer_edge.errors import InvalidInput
from dfer_edge.flow.preprocess import points_in_crop
from dfer_edge.kernels.clip_to_tensor import crop_resize
from dfer_edge.training.geometry import Region, cut, draw_regions, face_scale, move_points
from dfer_edge.training.pixels import augment
from dfer_edge.training.recipes import Crop, Pixels, Sampling
from dfer_edge.training.sampling import draw_frames
from dfer_edge.types import Box

Rng = np.random.Generator


def face(rng: Rng, frames: int = 3, scale: float = 30.0) -> np.ndarray:
    """Landmarks around (60, 50)."""
    from dfer_edge.inference.keypoint_graph import mean_shape

    shape = (mean_shape() - 0.5) * 2 * scale + (60, 50)
    return (shape[None] + rng.normal(0, 0.5, (frames, 68, 2))).astype(np.float32)


def test_an_upright_crop_is_that_of_inference(rng: Rng) -> None:
    image = cv2.resize(rng.integers(0, 256, (12, 15, 3), dtype=np.uint8), (150, 120))
    box = Box(21, 17, 91, 87)
    region = Region((box.left + box.right) / 2, (box.top + box.bottom) / 2, box.width, box.height)
    for size in (70, 35, 140):
        ours = cut(image, region, size, False, cv2.INTER_AREA, cv2.INTER_LINEAR)
        assert np.abs(ours.astype(int) - crop_resize(image, box, size)).max() <= 1


def test_points_go_where_the_pixels_go(rng: Rng) -> None:
    points = rng.uniform(20, 80, (68, 2)).astype(np.float32)
    box = Box(21, 17, 91, 87)
    region = Region(56, 52, 70, 70)
    moved = move_points(points, region.matrix(112), flip=False)
    np.testing.assert_allclose(moved, points_in_crop(points, box, 112), atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_a_dot_stays_under_its_landmark(flip: bool, angle: float) -> None:
    from dfer_edge.inference.keypoint_graph import MIRROR_POINTS

    image = np.zeros((100, 120, 3), np.uint8)
    cv2.circle(image, (70, 40), 3, (255, 255, 255), -1)
    points = np.full((68, 2), 10, np.float32)
    points[36] = (70, 40)
    region = Region(60, 50, 64, 64, angle)
    crop = cut(image, region, 128, flip, cv2.INTER_AREA, cv2.INTER_LINEAR)[..., 0].astype(float)
    ys, xs = np.nonzero(crop > 128)
    moved = move_points(points, region.matrix(128, flip), flip)
    where = moved[MIRROR_POINTS[36] if flip else 36]
    assert np.hypot(xs.mean() - where[0], ys.mean() - where[1]) < 1.0


FRAME = Box(0, 0, 120, 100)


def test_a_crop_around_landmarks_has_the_side_asked_for(rng: Rng) -> None:
    points = face(rng)
    middle, scale = face_scale(points)
    crop = Crop(around="landmarks", side=(2.0, 2.0), centre=(0.1, -0.2))
    regions = draw_regions(crop, [FRAME] * 3, 1.0, points, rng)
    for region, s, (x, y) in zip(regions, scale, middle, strict=True):
        assert region.width == pytest.approx(2 * s)
        assert (region.x, region.y) == pytest.approx((x + 0.5 + 0.1 * s, y + 0.5 - 0.2 * s))


def test_a_crop_that_does_not_follow_stands_still(rng: Rng) -> None:
    points = face(rng) + np.asarray([[[0, 0]], [[5, 0]], [[10, 3]]], np.float32)
    still = draw_regions(Crop(around="landmarks", follow=(0, 0)), [FRAME] * 3, 1.0, points, rng)
    assert len({(r.x, r.y, r.width) for r in still}) == 1
    moving = draw_regions(Crop(around="landmarks", follow=(1, 1)), [FRAME] * 3, 1.0, points, rng)
    assert moving[2].x - moving[0].x > 8


def test_crops_of_a_frame_stay_inside(rng: Rng) -> None:
    for crop in (Crop(area=(0.3, 1.0), aspect=(0.7, 1.4)), Crop(around="resize", resize=80)):
        for _ in range(50):
            (region,) = draw_regions(crop, [Box(0, 0, 120, 90)], 0.8, None, rng)
            assert region.x - region.width / 2 >= -1e-9
            assert region.x + region.width / 2 <= 120 + 1e-9
            assert region.y - region.height / 2 >= -1e-9
            assert region.y + region.height / 2 <= 90 + 1e-9


def test_resize_then_crop_takes_a_share_of_the_short_side(rng: Rng) -> None:
    crop = Crop(around="resize", resize=224)
    (region,) = draw_regions(crop, [Box(0, 0, 600, 448)], crop.share(196), None, rng)
    assert region.width == region.height == pytest.approx(448 * 196 / 224)


def test_a_crop_within_a_face_that_moves_keeps_its_place(rng: Rng) -> None:
    """Cut straight from the frames: a box twice as large, elsewhere, has the crop at the same share of it."""
    faces = [Box(10, 20, 50, 60), Box(100, 0, 180, 80)]
    first, second = draw_regions(Crop(around="resize", resize=224), faces, 0.875, None, rng)
    assert (second.width, first.width) == pytest.approx((70, 35))
    assert (second.x - 100) / 80 == pytest.approx((first.x - 10) / 40)
    assert (second.y - 0) / 80 == pytest.approx((first.y - 20) / 40)


@pytest.mark.parametrize("angles", [(2.0, 5.0, 7.0)])
def test_rotations_are_of_the_choices(rng: Rng, angles: tuple[float, ...]) -> None:
    crop = Crop(rotation_choices=angles)
    drawn = {draw_regions(crop, [Box(0, 0, 120, 90)], 0.8, None, rng)[0].rotation_deg for _ in range(60)}
    assert drawn == {sign * angle for angle in angles for sign in (-1.0, 1.0)}


ALL = Pixels(
    grey=0.5, brightness=0.3, contrast=0.3, saturation=0.5, hue=0.1, tint_sd=0.1, gamma_sd=0.3, resample=0.8,
    blur=0.5, noise=0.5, jpeg=0.5, cutout=0.5,
)  # fmt: skip


@pytest.mark.parametrize("size", [16, 37])
def test_everything_at_once_keeps_shape_and_seed(rng: Rng, size: int) -> None:
    frames = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    before = frames.copy()
    for seed in range(20):
        out = augment(frames, ALL, np.random.default_rng(seed))
        assert out.shape == frames.shape
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, augment(frames, ALL, np.random.default_rng(seed)))
    np.testing.assert_array_equal(frames, before)


def test_frames_of_a_clip_change_alike(rng: Rng) -> None:
    still = np.repeat(rng.integers(0, 256, (1, 24, 24, 3), dtype=np.uint8), 4, 0)
    for seed in range(20):
        out = augment(still, dataclasses.replace(ALL, noise=0.0), np.random.default_rng(seed))
        assert (out == out[:1]).all()
    noisy = augment(still, Pixels(noise=1.0), rng)
    assert (noisy[0] != noisy[1]).any()


@pytest.mark.parametrize("name", ["grey", "brightness", "contrast", "saturation", "hue", "tint_sd", "gamma_sd", "blur",
                                  "resample", "jpeg", "noise", "cutout"])  # fmt: skip
def test_each_part_does_something_and_nothing_else_does(rng: Rng, name: str) -> None:
    frames = rng.integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    changed = augment(frames, Pixels(**{name: 0.5 if name in ("hue", "brightness") else 1.0}), rng)
    assert (changed != frames).any()
    np.testing.assert_array_equal(augment(frames, Pixels(), rng), frames)
    if name == "grey":
        assert (changed == changed[..., :1]).all()


def test_lbp_gives_the_kernel_s_codes_in_three_channels(rng: Rng) -> None:
    frames = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    codes = augment(frames, Pixels(lbp=1.0), rng)
    assert codes.shape == frames.shape
    for channel in range(3):
        np.testing.assert_array_equal(codes[..., channel], kernels.lbp(frames))


@pytest.mark.parametrize("name", ["uniform", "segments", "pairs", "stride", "random"])
@pytest.mark.parametrize("length", [1, 2, 7, 16, 101])
@pytest.mark.parametrize("count", [1, 8, 16])
def test_frames_drawn_are_ascending_and_there(rng: Rng, name: str, length: int, count: int) -> None:
    for _ in range(10):
        drawn = draw_frames(Sampling(name, stride=3), length, count, rng)
        assert len(drawn) == count
        # A short clip is played again and again at a stride.
        assert drawn == sorted(drawn) or (name == "stride" and length < 3 * (count - 1) + 1)
        assert 0 <= drawn[0] <= drawn[-1] < length


def test_sampling_rules(rng: Rng) -> None:
    for _ in range(20):
        segments = draw_frames(Sampling("segments"), 80, 8, rng)
        assert [place // 10 for place in segments] == list(range(8))
        pairs = draw_frames(Sampling("pairs"), 80, 8, rng)
        assert all(b - a == 1 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
        stride = draw_frames(Sampling("stride", stride=3), 80, 8, rng)
        assert set(np.diff(stride)) == {3}
        assert len(set(draw_frames(Sampling("random"), 80, 8, rng))) == 8


def test_bad_sampling(rng: Rng) -> None:
    with pytest.raises(InvalidInput, match="expected sampling out of"):
        draw_frames(Sampling("all"), 5, 2, rng)
    with pytest.raises(InvalidInput, match="at least one frame"):
        draw_frames(Sampling(), 0, 2, rng)


def test_sharpening_steepens_edges_and_leaves_flat_parts(rng: Rng) -> None:
    clip = np.full((2, 80, 80, 3), 100, np.uint8)
    clip[:, :, 40:] = 150
    out = augment(clip, Pixels(sharpen=1.0, sharpen_amount=(1.0, 1.0)), rng).astype(int)
    assert (out[:, :, 40] - out[:, :, 39]).min() > 60
    assert (out[:, :, :30] == 100).all()
    assert (out[:, :, 50:] == 150).all()


def test_light_grows_across_the_crop(rng: Rng) -> None:
    clip = np.full((2, 32, 32, 3), 100, np.uint8)
    pixels = Pixels(light=1.0, light_sd=0.3)
    for out in (augment(clip, pixels, rng)[..., 0].astype(float) for _ in range(20)):
        np.testing.assert_array_equal(out[0], out[1])
        assert out[0].mean() == pytest.approx(100, abs=1)
        corners = out[0][[0, 0, -1, -1], [0, -1, 0, -1]]
        # A plane: opposite corners are as far from the middle on either side.
        assert corners[0] + corners[3] == pytest.approx(corners[1] + corners[2], abs=2)
        assert np.ptp(corners) > 0
