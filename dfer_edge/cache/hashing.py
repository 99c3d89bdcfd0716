"""SHA-256 of files, read once as long as they stay what they are."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

_BLOCK = 1 << 20
_COARSE_NS = 100_000_000

# Path -> what identified the content when it was hashed, and the hash: a network of gigabytes is read once a process.
_KNOWN: dict[Path, tuple[tuple[int, ...], str]] = {}


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; OSError if it does not read."""
    path = path.absolute()
    identity = _identity(path)
    known = _KNOWN.get(path)
    if known is not None and known[0] == identity:
        return known[1]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    # File times are coarse: a file that changed just now may change again without one seeing it.
    settled = time.time_ns() - max(identity[-2:]) > _COARSE_NS
    if settled and _identity(path) == identity:
        _KNOWN[path] = identity, digest.hexdigest()
    return digest.hexdigest()


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    # The change time cannot be set back by a program, the modification time can.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
