"""`clip_to_tensor`: geometry against independent definitions, normalisation against the formula, for every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, kernels
from dfer_edge.flow.preprocess import square
from dfer_edge.inference import registry
from dfer_edge.kernels.clip_to_tensor import crop_resize, normalise
from dfer_edge.types import Box

SPEC = registry.find("slowr50_sa").spec
SMALL = dataclasses.replace(SPEC, size=23, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# Shrinking, enlarging, both at once, over every edge, beside the frame, one pixel.
BOXES = [
    Box(2, 3, 39, 36),
    Box(2, 3, 15, 14),
    Box(0, 0, 40, 5),
    Box(-9, -7, 60, 55),
    Box(-9, -7, 5, 6),
    Box(90, 9, 110, 29),
    Box(-70, -60, -40, -30),
    Box(5, 6, 6, 7),
]
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}


@pytest.fixture(params=["reference", "cpu"], autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs on both."""
    with kernels.use_backend(request.param):
        yield str(request.param)


def test_normalisation_is_the_formula(rng: np.random.Generator) -> None:
    crops = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    actual = normalise(crops, SPEC)
    expected = (crops.astype(np.float64) / 255 - 0.45) / 0.225
    assert actual.shape == (3, 2, 5, 7)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected.transpose(3, 0, 1, 2), rtol=1e-6, atol=1e-7)


def test_channels_have_their_own_mean(rng: np.random.Generator) -> None:
    spec = dataclasses.replace(SPEC, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    crops = rng.integers(0, 256, (1, 3, 3, 3), np.uint8)
    for channel in range(3):
        expected = (crops[..., channel] / 255 - spec.mean[channel]) / spec.std[channel]
        np.testing.assert_allclose(normalise(crops, spec)[channel], expected, rtol=1e-5, atol=1e-7)


def test_shrinking_by_a_whole_number_averages(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (60, 90, 3), np.uint8)
    actual = crop_resize(image, Box(30, 12, 66, 48), 12)
    expected = image[12:48, 30:66].reshape(12, 3, 12, 3, 3).mean((1, 3))
    np.testing.assert_allclose(actual, expected, atol=0.51)


def test_same_size_is_a_copy(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 40, 3), np.uint8)
    np.testing.assert_array_equal(crop_resize(image, Box(5.4, 6.6, 15.4, 16.6), 10), image[7:17, 5:15])


@pytest.mark.parametrize(
    "box", [Box(-8, -4, 12, 16), Box(30, 28, 50, 48), Box(-100, -90, -80, -70), Box(90, 9, 110, 29)]
)
def test_outside_repeats_the_edge(rng: np.random.Generator, box: Box) -> None:
    image = rng.integers(0, 256, (40, 44, 3), np.uint8)
    rows = np.clip(np.arange(int(box.top), int(box.bottom)), 0, 39)
    columns = np.clip(np.arange(int(box.left), int(box.right)), 0, 43)
    np.testing.assert_array_equal(crop_resize(image, box, 20), image[np.ix_(rows, columns)])


def test_degenerate_boxes_still_give_an_image(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 44, 3), np.uint8)
    assert (crop_resize(image, Box(10, 10, 10, 10), 6) == image[10, 10]).all()


def test_square_keeps_the_centre() -> None:
    assert square(Box(10, 20, 30, 60), 1.5) == Box(-10, 10, 50, 70)


def exact_mean(line: np.ndarray, begin: Fraction, end: Fraction) -> Fraction:
    """Of a row of pixels between two positions, each pixel k covering k to k+1."""
    total = Fraction(0)
    for k, value in enumerate(line):
        total += max(min(end, Fraction(k + 1)) - max(begin, Fraction(k)), Fraction(0)) * int(value)
    return total / (end - begin)


@pytest.mark.parametrize(("length", "size"), [(7, 3), (13, 12), (29, 5), (31, 30)])
def test_shrinking_is_the_exact_mean_rounded_half_up(rng: np.random.Generator, length: int, size: int) -> None:
    line = rng.integers(0, 256, length, np.uint8)
    image = np.broadcast_to(line[None, :, None], (length, length, 3))
    step = Fraction(length, size)
    expected = [int(exact_mean(line, step * i, step * (i + 1)) + Fraction(1, 2)) for i in range(size)]
    for actual in (
        crop_resize(image, Box(0, 0, length, length), size),
        crop_resize(image.transpose(1, 0, 2), Box(0, 0, length, length), size).transpose(1, 0, 2),
    ):
        np.testing.assert_array_equal(actual, np.broadcast_to(np.array(expected)[None, :, None], (size, size, 3)))


@pytest.mark.parametrize(("length", "size"), [(2, 5), (3, 7), (11, 16)])
def test_enlarging_is_bilinear_between_centres(rng: np.random.Generator, length: int, size: int) -> None:
    line = rng.integers(0, 256, length, np.uint8)
    image = np.broadcast_to(line[:, None, None], (length, length, 3))
    expected = []
    for i in range(size):
        centre = min(max((Fraction(2 * i + 1, 2) * length / size - Fraction(1, 2)), Fraction(0)), Fraction(length - 1))
        left = min(int(centre), length - 2)
        value = int(line[left]) + (centre - left) * (int(line[left + 1]) - int(line[left]))
        expected.append(int(value + Fraction(1, 2)))
    actual = crop_resize(image, Box(0, 0, length, length), size)
    np.testing.assert_array_equal(actual, np.broadcast_to(np.array(expected)[:, None, None], (size, size, 3)))


def test_is_opencvs_resampling_to_one_level(rng: np.random.Generator) -> None:
    """Its area average in float, its bilinear with 11 bits: this one is exact, so a level apart at most."""
    image = cv2.GaussianBlur(rng.integers(0, 256, (90, 90, 3), np.uint8), (0, 0), 1)
    box = Box(0, 0, 90, 90)
    for size, how in ((47, cv2.INTER_AREA), (30, cv2.INTER_AREA), (131, cv2.INTER_LINEAR)):
        theirs = cv2.resize(image, (size, size), interpolation=how).astype(int)
        apart = abs(crop_resize(image, box, size) - theirs)
        assert apart.max() <= 1
        assert how == cv2.INTER_LINEAR or (apart > 0).mean() < 0.01


@pytest.mark.parametrize("size", [1, 7, 23, 64])
def test_cpu_pixels_are_the_references_bit_for_bit(rng: np.random.Generator, size: int) -> None:
    image = rng.integers(0, 256, (37, 41, 3), np.uint8)
    for box in BOXES:
        ours = crop_resize(image, box, size)
        with kernels.use_backend("reference"):
            np.testing.assert_array_equal(ours, crop_resize(image, box, size), str(box))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_many_clips_of_many_boxes(rng: np.random.Generator, dtype: str) -> None:
    """N people in T frames, against crop by crop in float64."""
    frames = rng.integers(0, 256, (3, 37, 41, 3), np.uint8)
    people = [[BOXES[(k + t) % len(BOXES)] for t in range(3)] for k in range(5)]
    out = kernels.clip_to_tensor(frames, people, SMALL, dtype=dtype)
    assert out.shape == (5, 3, 3, 23, 23)
    assert out.dtype == dtype
    for n, boxes in enumerate(people):
        for t, box in enumerate(boxes):
            expected = (crop_resize(frames[t], box, 23) / 255 - np.array(SMALL.mean)) / np.array(SMALL.std)
            np.testing.assert_allclose(out[n, :, t], expected.transpose(2, 0, 1), rtol=TOLERANCE[dtype], atol=1e-7)
    np.testing.assert_array_equal(kernels.clip_to_tensor(frames, people[2], SMALL, dtype=dtype), out[2])
    whole = np.array(people, np.float64)
    np.testing.assert_array_equal(kernels.clip_to_tensor(frames, whole, SMALL, dtype=dtype), out)
    with kernels.use_threads(3):
        np.testing.assert_array_equal(kernels.clip_to_tensor(frames, people, SMALL, dtype=dtype), out)


def test_frames_of_different_sizes(rng: np.random.Generator) -> None:
    frames = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((37, 41), (30, 29), (64, 48))]
    boxes = [[Box(1, 2, 25, 26)] * 3, [Box(-4, 0, 30, 34)] * 3]
    out = kernels.clip_to_tensor(frames, boxes, SMALL)
    for t, frame in enumerate(frames):
        one = kernels.clip_to_tensor(frame[None], [[clip[t]] for clip in boxes], SMALL)
        np.testing.assert_array_equal(out[:, :, t : t + 1], one)


def test_nv12_is_opencvs_conversion(rng: np.random.Generator) -> None:
    """BT.601 limited range, bit for bit, then as for RGB."""
    frames = rng.integers(0, 256, (2, 54, 40), np.uint8)
    colours = np.stack([cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12) for frame in frames])
    for box in BOXES:
        out = kernels.clip_to_tensor(frames, [box] * 2, SMALL, pixel_format="nv12")
        np.testing.assert_array_equal(out, kernels.clip_to_tensor(colours, [box] * 2, SMALL))


def test_out_is_filled_and_nothing_else(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (2, 37, 41, 3), np.uint8)
    boxes = [BOXES[0], BOXES[3]]
    for dtype in ("float32", "float16"):
        canvas = np.full((3, 3, 2, 23, 23), np.nan, dtype)
        assert kernels.clip_to_tensor(frames, boxes, SMALL, out=canvas[1]).base is canvas
        np.testing.assert_array_equal(canvas[1], kernels.clip_to_tensor(frames, boxes, SMALL, dtype=dtype))
        assert np.isnan(canvas[[0, 2]]).all()


def test_views_of_frames(rng: np.random.Generator) -> None:
    """Rows and frames apart are read in place; everything else is copied first."""
    frames = rng.integers(0, 256, (6, 50, 60, 3), np.uint8)
    for view in (frames[::2, 5:40, 7:50], frames[:3, ::-1], frames[:3, :, ::2], frames[2::-1], frames[:3, ..., ::-1]):
        boxes = [BOXES[0], BOXES[3], BOXES[4]]
        actual = kernels.clip_to_tensor(view, boxes, SMALL)
        np.testing.assert_array_equal(actual, kernels.clip_to_tensor(np.ascontiguousarray(view), boxes, SMALL))
    planes = rng.integers(0, 256, (2, 54, 64), np.uint8)[..., :40]
    actual = kernels.clip_to_tensor(planes, BOXES[:2], SMALL, pixel_format="nv12")
    np.testing.assert_array_equal(actual, kernels.clip_to_tensor(planes.copy(), BOXES[:2], SMALL, pixel_format="nv12"))


def test_frames_beyond_two_billion_bytes() -> None:
    """Offsets of 64 bits: only the pages that the crop reads come into being."""
    frames = np.zeros((3, 20000, 20000, 3), np.uint8)
    frames[2, 19990:, 19990:] = 200
    pixels = kernels.clip_to_tensor(frames, [Box(19990, 19990, 20000, 20000)] * 3, SMALL)
    expected = (200 / 255 - np.array(SMALL.mean)) / np.array(SMALL.std)
    np.testing.assert_allclose(pixels[:, 2, 3, 4], expected, rtol=1e-5)


def test_no_clips(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (2, 37, 41, 3), np.uint8)
    assert kernels.clip_to_tensor(frames, np.zeros((0, 2, 4)), SMALL).shape == (0, 3, 2, 23, 23)


def test_bad_input(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (2, 38, 40, 3), np.uint8)
    two = BOXES[:2]
    cases = [
        (frames.astype(np.float32), two, {}, r"expected frames as uint8 \[T, \*\[H, W, 3\]"),
        (frames[0], two, {}, r"got uint8 \[38, 40, 3\]"),
        (frames[..., :2], two, {}, r"got \[38, 40, 2\]"),
        (frames[:, :0], two, {}, "not empty"),
        (frames[..., 0], two, {"pixel_format": "nv12"}, "H and W even"),
        (frames, two, {"pixel_format": "yuyv"}, "rgb, nv12"),
        (frames, two, {"dtype": "float64"}, "float32, float16, bfloat16"),
        (frames, two, {"dtype": "bfloat16"}, "pass torch tensors"),
        (frames, [two, two[:1]], {}, "as many boxes as frames"),
        (frames, [BOXES[0], Box(0, 0, float("nan"), 9)], {}, r"finite edges.*at box \[1\]"),
        (frames, [BOXES[0], Box(0, 0, 40000, 9)], {}, "sides up to 32767"),
        (frames, [BOXES[0], Box(0, 0, 1e12, 9)], {}, "finite edges"),
        (list(frames.astype(np.int8)), two, {}, "frame 0"),
        (frames, two, {"out": np.empty((3, 2, 23, 24), np.float32)}, r"expected out \[3, 2, 23, 23\]"),
        (frames, two, {"out": np.empty((3, 2, 23, 23), np.float64)}, "float32 or float16"),
    ]
    for bad, boxes, options, message in cases:
        with pytest.raises(InvalidInput, match=message):
            kernels.clip_to_tensor(bad, boxes, SMALL, **options)


def test_torch_in_torch_out(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    frames = rng.integers(0, 256, (2, 37, 41, 3), np.uint8)
    tensor, boxes = torch.from_numpy(frames), [BOXES[0], BOXES[3]]
    expected = kernels.clip_to_tensor(frames, boxes, SMALL)
    np.testing.assert_array_equal(kernels.clip_to_tensor(tensor, boxes, SMALL).numpy(), expected)
    table = torch.tensor(boxes).round().int()
    np.testing.assert_array_equal(kernels.clip_to_tensor(list(tensor), table, SMALL).numpy(), expected)
    short = kernels.clip_to_tensor(tensor, boxes, SMALL, dtype="bfloat16")
    assert torch.equal(short, torch.from_numpy(expected).bfloat16())
    out = torch.full((1, 3, 2, 23, 23), torch.nan, dtype=torch.float16)
    assert kernels.clip_to_tensor(tensor, [boxes], SMALL, out=out) is out
    assert torch.equal(out[0], torch.from_numpy(expected).half())
    with pytest.raises(InvalidInput, match="frames: torch on cpu, boxes: torch on meta"):
        kernels.clip_to_tensor(tensor, table.to("meta"), SMALL)
    with pytest.raises(InvalidInput, match="frame 0: torch on cpu, frame 1: numpy on cpu"):
        kernels.clip_to_tensor([tensor[0], frames[1]], boxes, SMALL)


def test_torch_operator_is_well_formed(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    from dfer_edge.kernels.clip_to_tensor import torch_op

    frames = torch.from_numpy(rng.integers(0, 256, (2, 20, 21, 3), np.uint8))
    boxes = torch.tensor([[[1, 2, 15, 16], [0, 0, 30, 30]]], dtype=torch.int32)
    torch.library.opcheck(torch_op.clip_to_tensor, (frames, boxes, 9, [0.5] * 3, [0.2] * 3, False, "float16"))


def test_clip_to_tensor_composes(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (3, 64, 80, 3), np.uint8)
    boxes = [Box(i, i, i + 40, i + 40) for i in range(3)]
    out = kernels.clip_to_tensor(frames, boxes, SPEC)
    assert out.shape == (3, 3, 196, 196)
    expected = normalise(crop_resize(frames[1], boxes[1], 196)[None], SPEC)[:, 0]
    np.testing.assert_array_equal(out[:, 1], expected)
    for bad in ([], boxes[:2]):
        with pytest.raises(InvalidInput, match="as many boxes"):
            kernels.clip_to_tensor(frames, bad, SPEC)


def test_strided_frames_are_read_right(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (80, 80, 3), np.uint8)
    view = image[::2, ::-2]
    np.testing.assert_array_equal(
        crop_resize(view, Box(0, 0, 40, 40), 20), crop_resize(view.copy(), Box(0, 0, 40, 40), 20)
    )
