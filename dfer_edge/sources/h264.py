"""H.264 that may be coded in fields (PAFF: AVCHD, DVB), told by its headers (ITU-T H.264, 7.3).

Two things need to know. Some files hold each field as a sample of its own, so that their lists count two for a frame.
And FFmpeg's threads that decode a frame each call whole frames of two fields damaged where frames and fields alternate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Kinds of NAL units: slices of a picture, parameters of a sequence.
_SLICES, _PARAMETERS = (1, 5), 7
# Profiles whose parameters say the chroma format, and more, before the rest.
_HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_COLOUR_PLANES = 3
# What is asked stands in the first bytes of a slice.
_SLICE_START = 32


class Fields:
    """How slices of a stream say that they belong to a field.

    Parameters
    ----------
    length_size
        Bytes of the length before each NAL unit, 0 for start codes.
    frame_number_bits, has_planes
        Of what stands before it in a slice's header.
    """

    def __init__(self, length_size: int, frame_number_bits: int, has_planes: bool) -> None:
        self._length_size, self._number_bits, self._has_planes = length_size, frame_number_bits, has_planes

    @classmethod
    def of(cls, codec: Any) -> Fields | None:
        """Of a stream's codec; None if its pictures are frames alone, or its headers do not say."""
        header = bytes(codec.extradata or b"") if codec.name == "h264" else b""
        # An avcC box (ISO/IEC 14496-15) begins with its version, 1.
        is_box = header[:1] == b"\1"
        size = (header[4] & 3) + 1 if is_box and len(header) > 4 else 0
        units = _units(header[6:], 2) if is_box else _units(header, 0)
        try:
            found = next((_sequence(_Bits(unit[1:])) for unit in units if unit[0] & 31 == _PARAMETERS), None)
        except ValueError:
            return None
        return cls(size, *found) if found else None

    def is_one(self, packet: Any) -> bool:
        """Whether a packet is one field, and not a frame or both of its fields."""
        try:
            parities = {
                self._parity(_Bits(unit[1:_SLICE_START]))
                for unit in _units(bytes(packet), self._length_size)
                if unit[0] & 31 in _SLICES
            }
        except ValueError:  # damage, which the decoder finds as well
            return False
        return len(parities) == 1 and parities != {None}

    def _parity(self, bits: _Bits) -> int | None:
        """0 for a slice of a top field, 1 for one of a bottom field, None of a frame."""
        for _ in ("first macroblock", "type", "picture parameters"):
            bits.golomb()
        bits.take(2 * self._has_planes + self._number_bits)
        return bits.take(1) if bits.take(1) else None


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    """NAL units, none of them empty."""
    if not length_size:
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)
        return
    offset = 0
    while offset + length_size < len(data):
        start = offset + length_size
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > start:
            yield data[start:offset]


def _sequence(bits: _Bits) -> tuple[int, bool] | None:
    """Bits of a frame number and whether slices name a colour plane; None of a sequence of frames alone."""
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    planes = False
    if profile in _HIGH:
        chroma = bits.golomb()
        planes = chroma == _COLOUR_PLANES and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == _COLOUR_PLANES else 8):
                _skip_scaling(bits, 16 if index < 6 else 64)
    number_bits = bits.golomb() + 4
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb(), bits.take(1), bits.golomb(), bits.golomb()
    return None if bits.take(1) else (number_bits, planes)


def _skip_scaling(bits: _Bits, count: int) -> None:
    last = following = 8
    for _ in range(count if bits.take(1) else 0):
        if following:
            code = bits.golomb()
            following = (last + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        last = following or last


class _Bits:
    """A reader of bits, without the bytes that keep start codes out; ValueError behind the end."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """A number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("it ends inside a header")
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """An Exp-Golomb code, without sign."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
