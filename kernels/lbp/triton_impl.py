"""`lbp` in Triton. Run interpreted and compiled ahead of time; not yet run on hardware."""

from typing import Any

import triton
import triton.language as tl

from dfer_edge.kernels import affine
from dfer_edge.kernels.arrays import Array, as_tensor

BLOCK = 512


def declines(*_: Any) -> str:
    """Takes everything that Triton can read."""
    return ""


def run(frames: Array, weights: Any, zero_border: bool, normalisation: Any, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    source, target = as_tensor(frames), as_tensor(out)
    count, height, width = source.shape[:3]
    pixels = count * height * width
    if not pixels:
        return
    # Compile-time constants: a network has one mean and standard deviation.
    maps = affine.flat(*normalisation) if normalisation else ()
    lbp_kernel[(triton.cdiv(pixels, BLOCK),)](
        source,
        target,
        pixels,
        height,
        width,
        WEIGHTS=tuple(weights),
        MAPS=maps,
        CHANNELS=3 if source.ndim == 4 else 1,
        ZERO_BORDER=zero_border,
        CLIP=normalisation is not None,
        BLOCK=BLOCK,
    )


@triton.jit
def _grey(frames, first, y, x, height, width, inside, CHANNELS: tl.constexpr, ZERO_BORDER: tl.constexpr):
    """Grey values at (y, x); outside the frame 0 or its nearest edge."""
    row = tl.minimum(tl.maximum(y, 0), height - 1)
    column = tl.minimum(tl.maximum(x, 0), width - 1)
    mask = inside & (row == y) & (column == x) if ZERO_BORDER else inside
    at = first + row.to(tl.int64) * width + column
    if CHANNELS == 1:
        return tl.load(frames + at, mask, 0).to(tl.int32)
    red = tl.load(frames + 3 * at, mask, 0).to(tl.int32)
    green = tl.load(frames + 3 * at + 1, mask, 0).to(tl.int32)
    blue = tl.load(frames + 3 * at + 2, mask, 0).to(tl.int32)
    return (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15


# A size that happens to be 1 must not become a constant: it would have no dtype to widen.
@triton.jit(do_not_specialize=["pixels", "height", "width"])
def lbp_kernel(
    frames,
    out,
    pixels,
    height,
    width,
    WEIGHTS: tl.constexpr,
    MAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ZERO_BORDER: tl.constexpr,
    CLIP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Codes [T, H, W], or with CLIP three normalised planes of them. A program makes BLOCK pixels.

    WEIGHTS are those of the eight neighbours, clockwise from the top left; MAPS has four numbers a plane.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < pixels
    area = height.to(tl.int64) * width
    first = at // area * area
    y, x = ((at - first) // width).to(tl.int32), ((at - first) % width).to(tl.int32)
    centre = _grey(frames, first, y, x, height, width, inside, CHANNELS, ZERO_BORDER)
    code = tl.zeros([BLOCK], tl.int32)
    other = _grey(frames, first, y - 1, x - 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[0], 0)
    other = _grey(frames, first, y - 1, x, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[1], 0)
    other = _grey(frames, first, y - 1, x + 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[2], 0)
    other = _grey(frames, first, y, x + 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[3], 0)
    other = _grey(frames, first, y + 1, x + 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[4], 0)
    other = _grey(frames, first, y + 1, x, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[5], 0)
    other = _grey(frames, first, y + 1, x - 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[6], 0)
    other = _grey(frames, first, y, x - 1, height, width, inside, CHANNELS, ZERO_BORDER)
    code += tl.where(other >= centre, WEIGHTS[7], 0)
    if CLIP:
        value, plane = code.to(tl.float32), pixels.to(tl.int64)
        for c in tl.static_range(3):
            level = (value * MAPS[4 * c] - MAPS[4 * c + 1]) + (value * MAPS[4 * c + 2] - MAPS[4 * c + 3])
            tl.store(out + c * plane + at, level, inside)
    else:
        tl.store(out + at, code.to(tl.uint8), inside)
