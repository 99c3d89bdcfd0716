"""H.264 in fields (PAFF), which no encoder at hand writes: every macroblock as its samples (I_PCM of ITU-T H.264)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_DELIMITER = b"\0\0\0\1\x09\x10"
_POC_BITS = 8


class _Bits:
    def __init__(self) -> None:
        self.text = ""

    def put(self, *pairs: tuple[int, int]) -> _Bits:
        """Numbers, each with its count of bits."""
        self.text += "".join(f"{value:0{count}b}" for value, count in pairs)
        return self

    def golomb(self, *values: int) -> _Bits:
        self.text += "".join("0" * ((v + 1).bit_length() - 1) + f"{v + 1:b}" for v in values)
        return self

    def bytes(self) -> bytes:
        padded = self.text + "0" * (-len(self.text) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8, "big")


def _unit(importance: int, kind: int, content: bytes) -> bytes:
    out, zeros = bytearray(), 0
    for byte in content:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([importance << 5 | kind]) + bytes(out)


def _parameters(width: int, height: int, high: bool) -> bytes:
    bits = _Bits().put((100 if high else 77, 8), (0, 8), (30, 8)).golomb(0)
    if high:  # 4:2:0, 8 bits, no transform bypass, a scaling list of two steps
        bits.golomb(1, 0, 0).put((0, 1), (1, 1), (1, 1)).golomb(*[2, 1] + [0] * 14).put((0, 7))
    bits.golomb(0, 0, _POC_BITS - 4, 1).put((0, 1)).golomb(width // 16 - 1, height // 32 - 1)
    # Not of frames alone, no adaptive macroblocks, direct inference, no cropping; timing of 50 fields a second.
    bits.put((0, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 4), (1, 1), (1, 32), (50, 32), (1, 1), (0, 3), (0, 1))
    picture = _Bits().golomb(0, 0).put((0, 1), (0, 1)).golomb(0, 0, 0).put((0, 1), (0, 2)).golomb(0, 0, 0).put((4, 3))
    return _unit(3, 7, bits.put((1, 1)).bytes()) + _unit(3, 8, picture.put((1, 1)).bytes())


def _slice(planes: Sequence[np.ndarray], number: int, parity: int | None) -> bytes:
    """A frame, or with ``parity`` the first or second field of one; the first frame stands alone."""
    key = number == 0 and parity in (None, 0)
    bits = _Bits().golomb(0, 7, 0).put((number % 16, 4), (parity is not None, 1))
    if parity is not None:
        bits.put((parity, 1))
    if key:
        bits.golomb(0)
    bits.put(((2 * number + (parity or 0)) % (1 << _POC_BITS), _POC_BITS), (0, 2 if key else 1)).golomb(0, 1)
    content = bits.golomb(25).bytes()
    blocks = []
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        rows, columns = plane.shape[0] // side, plane.shape[1] // side
        cut = plane.reshape(rows, side, columns, side).swapaxes(1, 2)
        blocks.append(cut.reshape(rows * columns, side * side))
    content += _Bits().golomb(25).bytes().join(block.tobytes() for block in np.concatenate(blocks, 1))
    return _unit(3, 5 if key else 1, content + b"\x80")


def write_fields(path: Path, frames: Sequence[np.ndarray], kinds: str, high: bool = False) -> Path:
    """RGB frames, 25 a second, each field a sample: ``kinds`` has ``P`` for a frame, ``F`` for two fields.

    Sides are multiples of 16 and 32.
    """
    height, width = frames[0].shape[:2]
    content = _parameters(width, height, high)
    for number, image in enumerate(frames):
        samples = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p").to_ndarray()
        luma, rest = samples[:height], samples[height:].reshape(2, height // 2, width // 2)
        for parity in (None,) if kinds[number % len(kinds)] == "P" else (0, 1):
            rows = slice(parity, None, 1 if parity is None else 2)
            content += _DELIMITER + _slice([p[rows] for p in (luma, *rest)], number, parity)
    raw = path.with_suffix(".h264")
    raw.write_bytes(content)
    if path == raw:
        return path
    with av.open(str(raw), format="h264") as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stamp = 0
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.pts = packet.dts = stamp
                packet.duration = 2 if packet.size > 1.5 * 384 * (width // 16) * (height // 32) else 1
                packet.time_base, packet.stream = Fraction(1, 50), stream
                stamp += packet.duration
                target.mux(packet)
    return path
