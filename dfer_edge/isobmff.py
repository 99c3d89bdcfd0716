"""A look at the top-level boxes of an MP4 or MOV (ISO/IEC 14496-12): decoders end quietly where such a file is cut."""

from __future__ import annotations

from pathlib import Path

_KNOWN = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"meta", b"uuid", b"mfra"}
_STREAMED = 0  # a size of 0: the box runs to the end of the file


def truncation(path: Path) -> str:
    """Why the file is cut short; empty if it is whole or of another format."""
    end = path.stat().st_size
    seen: set[bytes] = set()
    with path.open("rb") as file:
        offset = 0
        while offset < end:
            file.seek(offset)
            header = file.read(16)
            kind = header[4:8]
            if kind not in _KNOWN:
                # Not this format at all, or harmless bytes behind whole boxes.
                return "" if not seen else _missing_index(seen)
            seen.add(kind)
            size = int.from_bytes(header[:4], "big")
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size == _STREAMED:
                break
            if size < 8:
                return f"its {kind.decode()} box has the impossible size {size}"
            if offset + size > end:
                return f"its {kind.decode()} box needs {offset + size} bytes, the file has {end}"
            offset += size
    return _missing_index(seen)


def _missing_index(seen: set[bytes]) -> str:
    if b"ftyp" in seen and not seen & {b"moov", b"moof"}:
        return "it has no moov box, the index without which nothing decodes"
    return ""
