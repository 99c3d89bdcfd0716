"""Is a media file cut short? Decoders end quietly where a file is cut; the containers' own sizes tell.

MP4, MOV, AVIF (ISO/IEC 14496-12), AVI (RIFF), Matroska and WebM (RFC 8794, 9559), GIF89a, PNG, JPEG (ITU-T T.81). Bytes
behind the end are harmless: telephones and editors append their own. Formats of streams have no size of the whole: of
MPEG-TS, Ogg, FLV, and of Matroska from a pipe, the last unit tells whether they end inside one.
"""

from __future__ import annotations

import mmap
import os
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

# Brands of pictures in boxes (ISO/IEC 23008-12), which have no moov box: AV1 in them, and HEVC.
AVIF = frozenset((b"avif", b"avis"))
HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
_PICTURES = AVIF | HEIC | {b"mif1", b"msf1", b"miaf"}
_ENDLESS = 0xFFFFFFFF  # size of a RIFF chunk that was written to a pipe

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"meta", b"uuid", b"mfra"}
_TO_THE_END = 0  # box size: the box runs to the end of the file
_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"
_PNG = b"\x89PNG\r\n\x1a\n"
# Of the bytes behind 0xff, 0 is a stuffed one, 0xff a filler, and 0xd0 to 0xd7 restart a scan: the others are markers.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B  # what a block of a GIF begins with
_CLUSTER = b"\x1f\x43\xb6\x75"
# Sizes of a packet of MPEG-TS, and where its sync byte is: plain, with a time code of discs, with error correction.
_TS_PACKETS, _TS_SYNC = ((188, 0), (192, 4), (204, 0)), 0x47
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255
_FLV_TAGS = (8, 9, 18)  # sound, video, data


def truncation(path: Path) -> str:
    """Why the file is cut short; empty if it is whole, or of a format that does not say its length."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        if start[:4] == b"RIFF":
            size = int.from_bytes(start[4:8], "little")
            return "" if size in (0, _ENDLESS) else _needs("RIFF chunk", 8 + size, end)
        if start[:4] == _EBML:
            return _matroska(file, end)
        for magic, reason in _PICTURE_ENDS:
            if start.startswith(magic):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return reason(data)
        return _boxes(file, end, brands(start) & _PICTURES)


def brands(start: bytes) -> frozenset[bytes]:
    """The brands that the first bytes of a file of boxes name; empty for other files."""
    if start[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return frozenset(start[offset : offset + 4] for offset in (8, *range(16, end - 3, 4)))


def _needs(what: str, needed: int, end: int) -> str:
    return f"its {what} needs {needed} bytes, the file has {end}" if needed > end else ""


def _png(data: mmap.mmap) -> str:
    for kind, _, end in png_chunks(data):
        if kind == b"IEND":
            return _needs("IEND chunk", end + 4, len(data))
    return "it ends before its IEND chunk"


def png_chunks(data: Any) -> Iterator[tuple[bytes, int, int]]:
    """Chunks of the bytes of a PNG in order: kind, and where the content begins and ends; a check sum is behind it."""
    offset = len(_PNG)
    while len(kind := bytes(data[offset + 4 : offset + 8])) == 4:
        end = offset + 8 + int.from_bytes(data[offset : offset + 4], "big")
        yield kind, offset + 8, end
        offset = end + 4


def png_damage(data: bytes | memoryview) -> str:
    """Which chunk of a whole PNG is not what was written, empty for none; decoders complain to the terminal."""
    for kind, start, end in png_chunks(data):
        if start + 4 > len(data):
            break
        # Chunks in small letters are not needed to decode.
        if kind[:1].isupper() and zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"its {kind.decode('latin-1')} chunk is damaged"
    return ""


def _jpeg(data: mmap.mmap) -> str:
    return "" if jpeg_end(data) else "it ends before the JPEG's end marker"


def jpeg_end(data: Any) -> int:
    """Where the first JPEG in bytes ends, 0 if it does not."""
    # Segments are skipped by their lengths: a thumbnail in one has an end marker of its own.
    offset = 2
    while found := _JPEG_MARKER.search(data, offset):
        offset = found.end()
        if found[1] == b"\xd9":
            return offset
        offset += int.from_bytes(data[offset : offset + 2], "big")
    return 0


def _tiff(data: mmap.mmap) -> str:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    return _needs("directory", int.from_bytes(data[4:8], order) + 2, len(data))


def _gif(data: mmap.mmap) -> str:
    try:
        _gif_end(data)
    except IndexError:
        return "it ends before the GIF trailer"
    return ""


def _gif_end(data: mmap.mmap) -> int:
    """Where the blocks of a GIF end: at the trailer, or at what only a decoder can judge."""
    offset = 13 + _colours(data[10])
    while data[offset] in (_EXTENSION, _PICTURE):
        # Up to the first sub-block: an extension's label; a picture's place, colours and code size.
        offset += 2 if data[offset] == _EXTENSION else 11 + _colours(data[offset + 9])
        while size := data[offset]:
            offset += 1 + size
        offset += 1
    return offset


def ends_inside(path: str | Path, form: str) -> bool:
    """Whether a file without a size of the whole ends inside a unit, or a GIF before its trailer.

    Parameters
    ----------
    path
        The file.
    form
        FFmpeg's name of its format.
    """
    check = _LAST_UNITS.get(form)
    if check is None:
        return False
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return check(data)


def _gif_ends_inside(data: mmap.mmap) -> bool:
    # Damage before the trailer makes blocks of other kinds.
    return data[_gif_end(data)] != _TRAILER


def _ts_ends_inside(data: mmap.mmap) -> bool:
    for size, sync in _TS_PACKETS:
        if len(data) > 3 * size and all(data[sync + k * size] == _TS_SYNC for k in range(3)):
            return len(data) % size != 0
    return False


def _ogg_ends_inside(data: mmap.mmap) -> bool:
    page = data.rfind(b"OggS", max(0, len(data) - _LARGEST_OGG_PAGE))
    if page < 0:
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]] if page + 27 <= len(data) else b""
    return page + 27 > len(data) or page + 27 + data[page + 26] + sum(segments) > len(data)


def _flv_ends_inside(data: mmap.mmap) -> bool:
    # Each tag is followed by its size.
    offset = int.from_bytes(data[5:9], "big") + 4
    while offset < len(data) and data[offset] & 0x1F in _FLV_TAGS:
        offset += 11 + int.from_bytes(data[offset + 1 : offset + 4], "big") + 4
    return offset > len(data)


def _matroska_ends_inside(data: mmap.mmap) -> bool:
    """Elements one after the other, those of the segment and of clusters among them, until one is behind the end."""
    offset = 0
    # No identifier begins with four zero bits: damage, or what others have appended.
    while offset < len(data) and data[offset] >> 4:
        kind = data[offset : offset + 9 - data[offset].bit_length()]
        data.seek(offset + len(kind))
        size = _vint(data)
        if kind == _SEGMENT and size is not None:
            return False
        if size is None and kind not in (_SEGMENT, _CLUSTER):
            return False
        offset = data.tell() + (0 if kind in (_SEGMENT, _CLUSTER) else size or 0)
    return offset > len(data)


_PICTURE_ENDS = ((_PNG, _png), (b"GIF8", _gif), (b"\xff\xd8", _jpeg), (b"II*\0", _tiff), (b"MM\0*", _tiff))
_LAST_UNITS = {
    "gif": _gif_ends_inside,
    "mpegts": _ts_ends_inside,
    "ogg": _ogg_ends_inside,
    "flv": _flv_ends_inside,
    "matroska,webm": _matroska_ends_inside,
}


def _colours(flags: int) -> int:
    """Bytes of the table of colours that the flags of a GIF announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _boxes(file: BinaryIO, end: int, picture: Collection[bytes]) -> str:
    seen: set[bytes] = set()
    offset = 0
    while offset < end:
        file.seek(offset)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if kind not in _BOXES:
            # Not this format at all, or harmless bytes behind whole boxes.
            break
        seen.add(kind)
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size == _TO_THE_END:
            break
        if size < 8:
            return f"its {kind.decode()} box has the impossible size {size}"
        if reason := _needs(f"{kind.decode()} box", offset + size, end):
            return reason
        offset += size
    if b"ftyp" in seen and not seen & {b"moov", b"moof"} and not (picture and b"meta" in seen):
        return "it has no moov box, the index without which nothing decodes"
    return ""


def _matroska(file: BinaryIO, end: int) -> str:
    file.seek(len(_EBML))
    size = _vint(file)
    if size is None:
        return "its EBML header has no size"
    if reason := _needs("EBML header", file.tell() + size, end):
        return reason
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return "its EBML header is followed by no segment"
    size = _vint(file)
    # A stream written without seeking has no size: nothing to hold it against.
    return _needs("segment", file.tell() + size, end) if size is not None else ""


def _vint(file: BinaryIO | mmap.mmap) -> int | None:
    """An EBML variable-size integer; None if absent or of unknown value (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
