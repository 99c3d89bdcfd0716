"""The manifest of a cache entry: what was built, the hash of every file, and the seal of the cache that built it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact

MANIFEST = "manifest.json"
_FORMAT = 1
_SECRET_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds; ``files`` maps a file's name to its size and sha256."""

    kind: str
    name: str
    fields: dict[str, str]
    created: str
    files: dict[str, list[int | str]]
    seal: str = ""

    def sealed(self, secret: bytes) -> str:
        """The HMAC-SHA256 of everything but the seal."""
        content = dataclasses.asdict(self) | {"seal": "", "format": _FORMAT}
        return hmac.new(secret, json.dumps(content, sort_keys=True).encode(), "sha256").hexdigest()


def write(folder: Path, kind: str, name: str, fields: Mapping[str, str]) -> None:
    """Hash all files of ``folder`` and write its manifest; OSError if the cache cannot be written."""
    files: dict[str, list[int | str]] = {
        path.name: [path.stat().st_size, file_sha256(path)] for path in sorted(folder.iterdir())
    }
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    manifest = Manifest(kind, name, dict(fields), now, files)
    manifest = dataclasses.replace(manifest, seal=manifest.sealed(_secret(folder.parents[1], make=True)))
    content = {"format": _FORMAT, **dataclasses.asdict(manifest)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1))


def read(folder: Path) -> Manifest | None:
    """The manifest of an entry, unverified; None if it is missing or not of this format."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
        if content.pop("format") != _FORMAT:
            return None
        manifest = Manifest(**content)
        well_formed = all(isinstance(part, dict) for part in (manifest.fields, manifest.files))
        well_formed &= isinstance(manifest.seal, str)
        sized = all(isinstance(value, list) and len(value) == 2 for value in manifest.files.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return manifest if well_formed and sized else None


def problem(folder: Path, kind: str, name: str, fields: Mapping[str, str] | None = None) -> str:
    """Why an entry must not be used; empty if it is whole and this cache's own.

    ``fields`` None takes those of the manifest. Every byte is read and hashed.
    """
    manifest = read(folder)
    if manifest is None:
        return "corrupt: its manifest is missing or does not read"
    secret = _secret(folder.parents[1])
    if not secret or not hmac.compare_digest(manifest.seal.encode(errors="replace"), manifest.sealed(secret).encode()):
        return "foreign: it was not built by this cache, or its manifest was changed"
    if (manifest.kind, manifest.name) != (kind, name):
        return f"foreign: it was built as {manifest.kind}/{manifest.name}"
    if fields is not None and manifest.fields != dict(fields):
        return "foreign: it was built for another key"
    try:
        return _changed(folder, manifest)
    except FileNotFoundError:
        # Another process cleared the cache.
        return "gone while it was read"


def _changed(folder: Path, manifest: Manifest) -> str:
    actual = {path.name for path in folder.iterdir()} - {MANIFEST}
    if actual != set(manifest.files):
        return f"corrupt: expected the files {sorted(manifest.files)}, found {sorted(actual)}"
    for file, (size, sha256) in manifest.files.items():
        if not (folder / file).is_file() or (folder / file).stat().st_size != size:
            return f"corrupt: expected {size} bytes in {file}"
        if file_sha256(folder / file) != sha256:
            return f"corrupt: {file} has another sha256 than when it was built"
    return ""


def _secret(cache: Path, make: bool = False) -> bytes:
    """A cache's own secret; empty if there is none that this user may read, and ``make`` is False.

    Others may read it, as the entries of a cache that is baked into an image: who may write the cache could put a
    secret of his own there anyway.
    """
    path = cache / "secret"
    with contextlib.suppress(FileNotFoundError, PermissionError):
        secret = path.read_bytes()
        if len(secret) == _SECRET_BYTES:
            return secret
    if not make:
        return b""
    with FileLock(f"{path}.lock"):
        if path.is_file() and path.stat().st_size == _SECRET_BYTES:
            return path.read_bytes()
        aside = path.with_name("secret.new")
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o644)
        aside.write_bytes(secrets.token_bytes(_SECRET_BYTES))
        aside.replace(path)
    return path.read_bytes()


def verified_bytes(folder: Path, file: str) -> bytes:
    """The content of a verified entry's file, held against the manifest once more: what was hashed is what is used.

    Raises
    ------
    CorruptArtifact
        If the file changed since the entry was verified, or is gone.
    """
    try:
        manifest, content = read(folder), (folder / file).read_bytes()
    except OSError as error:
        raise CorruptArtifact(f"expected {file} as it was built in {folder}: {error}") from error
    expected = manifest.files.get(file) if manifest else None
    if expected is None or hashlib.sha256(content).hexdigest() != expected[1]:
        raise CorruptArtifact(f"expected {file} as it was built, it changed in {folder}")
    return content
