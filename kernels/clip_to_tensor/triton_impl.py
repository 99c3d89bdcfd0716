"""`clip_to_tensor` in Triton. Run interpreted and compiled ahead of time; not yet run on hardware."""

from typing import Any

import triton
import triton.language as tl

from dfer_edge.kernels import affine
from dfer_edge.kernels.arrays import Array, as_tensor

BLOCK = 128
# A size that happens to be 1 must not become a constant: it would have no dtype to widen.
SIZES = ("count", "height", "width", "frame_stride", "row_stride", "clip_step", "plane_step", "frame_step")


# Blocks of a crop, which a grid counts in 16 bits.
MOST_BLOCKS = 65535


def declines(frames: Array, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> str:
    """Takes crops of up to 65535 blocks of pixels, 2896 a side."""
    height, width = out.shape[3:] if normalisation else out.shape[2:4]
    too_large = height * width > MOST_BLOCKS * BLOCK
    return f"takes crops up to {MOST_BLOCKS * BLOCK} pixels, got {height} x {width}" if too_large else ""


def run(frames: Array, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    source, target = as_tensor(frames), as_tensor(out)
    table = as_tensor(boxes).to(target.device, non_blocking=True)
    clips, count = table.shape[:2]
    size = target.shape[3:] if normalisation else target.shape[2:4]
    blocks = triton.cdiv(size[0] * size[1], BLOCK)
    if not clips * blocks:
        return
    rows = source.shape[1]
    # Compile-time constants: a network has one mean and standard deviation.
    maps = affine.flat(*normalisation) if normalisation else ()
    steps = target.stride()
    crop_kernel[(clips * count, blocks)](
        source,
        table,
        target,
        count,
        rows // 3 * 2 if nv12 else rows,
        source.shape[2],
        source.stride(0),
        source.stride(1),
        steps[0],
        steps[1] if normalisation else 1,
        steps[2] if normalisation else steps[1],
        size[0],
        size[1],
        MAPS=maps,
        PLANES=normalisation is not None,
        NV12=nv12,
        BLOCK=BLOCK,
    )


@triton.jit
def _taps(length, size, output):
    """First and last input of each output, and what the weights add up to. Sides are below 2**15."""
    begin = output * length // size
    end = ((output + 1) * length + size - 1) // size - 1
    centre = tl.minimum(tl.maximum((2 * output + 1) * length - size, 0), 2 * size * (length - 1))
    left = centre // (2 * size)
    right = left + tl.where(centre % (2 * size) != 0, 1, 0)
    shrinks = length > size
    return tl.where(shrinks, begin, left), tl.where(shrinks, end, right), tl.where(shrinks, length, 2 * size)


@triton.jit
def _weight(length, size, output, position):
    """Weight of each input in each output; 0 beyond the taps."""
    overlap = tl.minimum((output + 1) * length, (position + 1) * size) - tl.maximum(output * length, position * size)
    centre = tl.minimum(tl.maximum((2 * output + 1) * length - size, 0), 2 * size * (length - 1))
    near = 2 * size - tl.abs(centre - 2 * size * position)
    return tl.maximum(tl.where(length > size, overlap, near), 0)


@triton.jit
def _byte(value):
    return tl.minimum(tl.maximum(value >> 20, 0), 255)


@triton.jit
def _read(frame, y, x, height, row_stride, inside, NV12: tl.constexpr):
    """Red, green and blue; BT.601, limited range, for NV12."""
    if NV12:
        luma = tl.load(frame + y * row_stride + x, inside, 0).to(tl.int32)
        pair = frame + (height + y // 2) * row_stride + x // 2 * 2
        u = tl.load(pair, inside, 0).to(tl.int32) - 128
        v = tl.load(pair + 1, inside, 0).to(tl.int32) - 128
        gain = tl.maximum(luma - 16, 0) * 1220542 + 524288
        return _byte(gain + 1673527 * v), _byte(gain - 409993 * u - 852492 * v), _byte(gain + 2116026 * u)
    pixel = frame + y * row_stride + 3 * x
    red = tl.load(pixel, inside, 0).to(tl.int32)
    green = tl.load(pixel + 1, inside, 0).to(tl.int32)
    return red, green, tl.load(pixel + 2, inside, 0).to(tl.int32)


@triton.jit
def _divide(total, whole):
    """Rounded to nearest, halves up: a float quotient a little too large, one taken back where it was."""
    total += whole // 2
    above = (total.to(tl.float32) * (1.0 / whole.to(tl.float32)) + 0.0009765625).to(tl.int64)
    return (above - tl.where(above * whole > total, 1, 0)).to(tl.int32)


@triton.jit
def _store(out, at, plane_stride, value, inside, CHANNEL: tl.constexpr, MAPS: tl.constexpr, PLANES: tl.constexpr):
    """Normalised into a plane, by four numbers of MAPS, or as a byte of an interleaved pixel."""
    if PLANES:
        x = value.to(tl.float32)
        level = (x * MAPS[4 * CHANNEL] - MAPS[4 * CHANNEL + 1]) + (x * MAPS[4 * CHANNEL + 2] - MAPS[4 * CHANNEL + 3])
        tl.store(out + CHANNEL * plane_stride + at, level.to(out.dtype.element_ty), inside)
    else:
        tl.store(out + 3 * at + CHANNEL, value.to(tl.uint8), inside)


@triton.jit(do_not_specialize=[*SIZES, "down", "across"])
def crop_kernel(
    frames,
    boxes,
    out,
    count,
    height,
    width,
    frame_stride,
    row_stride,
    clip_step,
    plane_step,
    frame_step,
    down,
    across,
    MAPS: tl.constexpr,
    PLANES: tl.constexpr,
    NV12: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Crop ``program_id(0)`` at down x across pixels; a program makes BLOCK of them."""
    crop = tl.program_id(0)
    plane_step = plane_step.to(tl.int64)  # two of them may pass 32 bits where one does not
    t, clip = (crop % count).to(tl.int64), (crop // count).to(tl.int64)
    boxes += crop.to(tl.int64) * 4
    left, top = tl.load(boxes), tl.load(boxes + 1)
    high = tl.maximum(tl.load(boxes + 3) - top, 1)
    wide = tl.maximum(tl.load(boxes + 2) - left, 1)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < down * across
    y, x = at // across, at % across
    first_y, last_y, whole_y = _taps(high, down, y)
    first_x, last_x, whole_x = _taps(wide, across, x)
    frame = frames + t * frame_stride
    red, green, blue = tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64)
    # As many taps as an output can have; those beyond its own weigh nothing.
    most_y = tl.where(high > down, (high + down - 1) // down + 1, 2)
    most_x = tl.where(wide > across, (wide + across - 1) // across + 1, 2)
    for i in range(most_y):
        row = tl.minimum(tl.maximum(top + first_y + i, 0), height - 1).to(tl.int64)
        used_y = inside & (first_y + i <= last_y)
        weight_y = _weight(high, down, y, first_y + i).to(tl.int64)
        for j in range(most_x):
            column = tl.minimum(tl.maximum(left + first_x + j, 0), width - 1)
            r, g, b = _read(frame, row, column, height, row_stride, used_y & (first_x + j <= last_x), NV12)
            weight = weight_y * _weight(wide, across, x, first_x + j)
            red += weight * r
            green += weight * g
            blue += weight * b
    whole = whole_y.to(tl.int64) * whole_x
    to = out + clip * clip_step + t * frame_step
    red, green, blue = _divide(red, whole), _divide(green, whole), _divide(blue, whole)
    _store(to, at, plane_step, red, inside, 0, MAPS, PLANES)
    _store(to, at, plane_step, green, inside, 1, MAPS, PLANES)
    _store(to, at, plane_step, blue, inside, 2, MAPS, PLANES)
