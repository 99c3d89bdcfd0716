"""What a file is that nothing here reads, by its first bytes, and the way out of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

_SAVE = "save it as JPEG, PNG or MP4"
_LOAD = "download it again: the server sent something else"
# Starts, at offset 0 but where another one is named; what it is; the way out.
_KINDS: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\xff\x0a", 0, "JPEG XL", _SAVE),
    (b"\0\0\0\x0cJXL ", 0, "JPEG XL", _SAVE),
    (b"8BPS", 0, "a Photoshop document", _SAVE),
    (b"gimp xcf", 0, "a GIMP document", _SAVE),
    (b"\x76\x2f\x31\x01", 0, "OpenEXR", _SAVE),
    (b"#?RADIANCE", 0, "Radiance HDR", _SAVE),
    (b"FUJIFILMCCD-RAW", 0, "raw data of a camera", _SAVE),
    (b"DICM", 128, "DICOM", "convert it to PNG or MP4"),
    (b"%PDF-", 0, "a PDF document", _SAVE),
    (b"%!PS", 0, "a PostScript document", _SAVE),
    (b"<svg", 0, "an SVG drawing", _SAVE),
    (b"PK\3\4", 0, "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", 0, "a gzip archive", "unpack it first"),
    (b"Rar!", 0, "a RAR archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", 0, "a zstd archive", "unpack it first"),
    (b"BZh", 0, "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ", 0, "an xz archive", "unpack it first"),
    (b"\x93NUMPY", 0, "a numpy array", "predict takes the array: numpy.load(path)"),
    (b"\x89HDF", 0, "HDF5", "read its arrays with h5py"),
    (b"\x7fELF", 0, "a program", ""),
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file", "git lfs pull"),
    (b"/annex/objects/", 0, "a git-annex pointer, not the file", "git annex get"),
    (b"<!doctype html", 0, "a web page", _LOAD),
    (b"<html", 0, "a web page", _LOAD),
    (b"data:", 0, "a data URL", "decode it first"),
)
_LONGEST = 160
EMPTY = " (an empty file)", "it was not written or not downloaded to its end"


def told(path: Path) -> tuple[str, str]:
    """What the file seems to be, in brackets behind a blank, and a hint; both empty where nothing is known."""
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    if not start:
        return EMPTY
    if not any(start):
        return " (it begins with zeros)", EMPTY[1]
    plain = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, offset, what, hint in _KINDS:
        # Marks of text come in both cases.
        if start[offset:].startswith(magic) or (not offset and plain.lower().startswith(magic)):
            return f" ({what})", hint
    return (" (it looks like text)", "") if start.isascii() and b"\0" not in start else ("", "")


def missing(path: Path) -> str:
    """A hint for a path at which nothing is."""
    import difflib

    text = str(path)
    if path.is_symlink():
        return f"it is a link to {path.readlink()}"
    if text == "-":
        return "standard input is not read: write it to a file"
    if text.startswith("~"):
        with contextlib.suppress(RuntimeError):  # no home
            text = str(path.expanduser())
        return f"~ stands for itself here: {text}"
    if text.isdecimal() or text.startswith("/dev/video"):
        return f"camera {text}: Recognizer.stream({text!r}), dfer-edge live {text}"
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} is not there either"
    near = difflib.get_close_matches(path.name.lower(), {name.lower() for name in names}, 1, 0.8)
    found = next((name for name in names if near and name.lower() == near[0]), "")
    return f"there is {path.parent / found}" if found else ""
