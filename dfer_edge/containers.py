"""Is a media file cut short? Decoders end quietly where a file is cut; the containers' own sizes tell.

MP4 and MOV (ISO/IEC 14496-12), AVI (RIFF), Matroska and WebM (RFC 8794, 9559), GIF, PNG, JPEG.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"meta", b"uuid", b"mfra"}
_TO_THE_END = 0  # box size: the box runs to the end of the file
_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"


def truncation(path: Path) -> str:
    """Why the file is cut short; empty if it is whole, or of a format that does not say its length."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(max(0, end - 12))
        tail = file.read(12)
        if start[:4] == b"RIFF":
            return _needs("RIFF chunk", 8 + int.from_bytes(start[4:8], "little"), end)
        if start[:4] == _EBML:
            return _matroska(file, end)
        if start[:3] == b"GIF":
            return "" if tail.endswith(b";") else "its last byte is not the GIF trailer"
        if start[:4] == b"\x89PNG":
            return "" if b"IEND" in tail else "its end is not a PNG's"
        if start[:2] == b"\xff\xd8":
            return "" if b"\xff\xd9" in tail else "its end is not a JPEG's"
        return _boxes(file, end)


def _needs(what: str, needed: int, end: int) -> str:
    return f"its {what} needs {needed} bytes, the file has {end}" if needed > end else ""


def _boxes(file: BinaryIO, end: int) -> str:
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
    if b"ftyp" in seen and not seen & {b"moov", b"moof"}:
        return "it has no moov box, the index without which nothing decodes"
    return ""


def _matroska(file: BinaryIO, end: int) -> str:
    file.seek(len(_EBML))
    size = _vint(file)
    if size is None:
        return "its EBML header has no size"
    file.seek(size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return "its EBML header is followed by no segment"
    size = _vint(file)
    # A stream written without seeking has no size: nothing to hold it against.
    return _needs("segment", file.tell() + size, end) if size is not None else ""


def _vint(file: BinaryIO) -> int | None:
    """An EBML variable-size integer; None if absent or of unknown value (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
