"""The native layers of a person's maps against numpy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dfer_edge.synthesis.native import NATIVE

SHAPES = [(41, 83), (64, 64), (9, 7)]


def _slopes(height: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8
    return np.stack([across, -down, cavity, np.zeros_like(height)], axis=-1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("grid", [(4, 9), (11, 5)])
def test_a_cloud_is_a_grid_resized_by_cubic_interpolation(
    rng: np.random.Generator, shape: tuple[int, int], grid: tuple[int, int]
) -> None:
    layer, points = rng.random(shape, np.float32), rng.random(grid, np.float32)
    want = layer + 0.3 * cv2.resize(points, shape[::-1], interpolation=cv2.INTER_CUBIC)
    NATIVE.add_cloud(layer, points, 0.3)
    np.testing.assert_allclose(layer, want, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigmas", [(0.0, 0.0), (0.6, 1.6), (4.0, 4.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_noise_is_rolled_mirrored_and_blurred(
    rng: np.random.Generator, shape: tuple[int, int], sigmas: tuple[float, float], mirrored: bool
) -> None:
    layer, noise = rng.random(shape, np.float32), rng.random(shape, np.float32)
    want = np.roll(noise, (3, 5), axis=(0, 1))
    want = want[:, ::-1] if mirrored else want
    if sigmas[0] > 0:
        want = cv2.GaussianBlur(want, (0, 0), sigmas[0], sigmaY=sigmas[1])
        want = want / want[::4, ::4].std()
    want = layer + 0.4 * want
    NATIVE.add_noise(layer, noise, down=3, right=5, mirrored=mirrored, sigma_x=sigmas[0], sigma_y=sigmas[1], gain=0.4)
    np.testing.assert_allclose(layer, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("down", [-1, 9])
def test_noise_moved_out_of_its_layer_is_refused(down: int) -> None:
    field = np.zeros((9, 7), np.float32)
    with pytest.raises(ValueError, match="down, right: expected texels inside"):
        NATIVE.add_noise(field, field, down=down, right=0, mirrored=False, sigma_x=0.0, sigma_y=0.0, gain=1.0)


def test_skin_is_blotches_times_the_tint_of_its_spots(rng: np.random.Generator) -> None:
    blotches, down, across = rng.random((12, 10)), rng.random((3, 12)), rng.random((3, 10))
    tint, colour = rng.normal(0.0, 0.1, (3, 3)), np.array([0.7, 0.5, 0.3])
    want = colour * blotches[..., None] * (1 + np.einsum("ks,sy,sx->yxk", tint, down, across))
    skin = NATIVE.skin(blotches, down, across, tint, colour)
    np.testing.assert_allclose(skin[..., :3], want, rtol=1e-5)
    assert not skin[..., 3].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_are_those_of_sobel(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    heights, cavity = rng.random(shape, np.float32), rng.random(shape, np.float32)
    np.testing.assert_allclose(NATIVE.slopes(heights, cavity), 8191 * _slopes(heights, cavity), atol=0.51)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fold_is_a_valley_between_ridges(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    drawn = rng.random(shape, np.float32)
    sharp, soft = cv2.GaussianBlur(drawn, (0, 0), 0.9), cv2.GaussianBlur(drawn, (0, 0), 3.0)
    want = _slopes(1.3 * soft - 1.2 * sharp, np.clip(1.3 * sharp, 0.0, 1.0))
    np.testing.assert_allclose(NATIVE.fold(drawn), 8191 * want, atol=0.6)


def test_the_last_layer_limits_colours_and_keeps_its_share(rng: np.random.Generator) -> None:
    texture = rng.uniform(-0.5, 1.5, (6, 11, 4)).astype(np.float32)
    alpha, shade = rng.random((6, 11), np.float32), rng.random((6, 11), np.float32)
    colour = np.float32([0.2, 0.5, 0.9])
    want = texture[..., :3] + alpha[..., None] * (colour * shade[..., None] - texture[..., :3])
    texels = NATIVE.cover(texture, alpha, colour, shade)
    np.testing.assert_allclose(texels[..., :3], 32767 * np.clip(want, 0.002, 1.0), atol=0.51)
    np.testing.assert_allclose(texels[..., 3], 32767 * alpha, atol=0.51)
