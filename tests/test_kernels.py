"""`clip_to_tensor`: geometry against an independent definition, normalisation against the formula."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge import InvalidInput, kernels
from dfer_edge.kernels.clip_to_tensor import crop_resize, normalise
from dfer_edge.models import registry
from dfer_edge.preprocess import square
from dfer_edge.types import Box

SPEC = registry.find("slowr50_sa").spec


def test_normalisation_is_the_formula(rng: np.random.Generator) -> None:
    crops = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    actual = normalise(crops, SPEC)
    expected = (crops.astype(np.float64) / 255 - 0.45) / 0.225
    assert actual.shape == (3, 2, 5, 7)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected.transpose(3, 0, 1, 2), rtol=1e-6, atol=1e-7)


def test_channels_have_their_own_mean(rng: np.random.Generator) -> None:
    import dataclasses

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
