"""The one cache of built things: keyed, locked, published whole or not at all, verified before every use.

An entry is a folder of files and a manifest. The manifest holds the key, the size and sha256 of every file, and a seal:
an HMAC under a secret that never leaves this cache folder. So an entry that was cut short, changed, renamed or brought
from elsewhere does not verify; it is rebuilt, with a line in the log. Engine files are code: only what this cache
sealed itself is ever handed out.

======================  ==========================================================================
kind                    what
======================  ==========================================================================
``networks``            exported ONNX files (:mod:`dfer_edge.export.artifacts`)
``engines``             TensorRT engines, bound to the library, the GPU and its power mode
``timing``              TensorRT timing caches, bound to the library and the GPU
``choices``             what was measured to be fastest on this device
======================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from dfer_edge.cache import manifest as cache_manifest
from dfer_edge.cache.manifest import MANIFEST
from dfer_edge.errors import DferError
from dfer_edge.system import settings

_LOG = logging.getLogger("dfer_edge")

KINDS = ("networks", "engines", "timing", "choices")
# Longer than any build; a process that hangs holds its lock for ever.
_LOCK_TIMEOUT_S = 3600.0
_QUIET_WAIT_S = 2.0
_SCRATCH = "scratch-"

# What a user is refused: another cache helps, not more room. The errors of a full disk are none of these.
_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)
# Cache folders that this process found it may not write, with the reason.
_REFUSED: dict[Path, str] = {}

_published: contextvars.ContextVar[list[Path]] = contextvars.ContextVar("published")

Build = Callable[[Path], None]
"""Writes the files of an entry into an empty folder."""


@dataclasses.dataclass(frozen=True)
class Key:
    """What an entry is of. Two entries are the same exactly when kind and fields are.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    label
        For people, in front of the entry's name: letters, digits, ``-`` and ``_``.
    fields
        Everything that changes the content: hashes, versions, device, flags.
    """

    kind: str
    label: str
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """The entry's folder name."""
        text = json.dumps([self.kind, dict(self.fields)], sort_keys=True)
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.label)}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry as ``dfer-edge cache`` shows it.

    Attributes
    ----------
    kind, name
        Where it is.
    path
        Its folder.
    bytes
        Size of all its files.
    created
        UTC time, ISO 8601; empty if the manifest does not read.
    fields
        Of its key; empty if the manifest does not read.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    created: str
    fields: Mapping[str, str]

    def problem(self) -> str:
        """Why the entry would not be used; empty if all its files verify. Reads every byte."""
        return cache_manifest.problem(self.path, self.kind, self.name)


def find(key: Key) -> Path | None:
    """The verified folder of an entry, or None; an entry that does not verify is logged and left. Writes nothing."""
    for folder in _folders(key):
        if _is_there(folder):
            problem = cache_manifest.problem(folder, key.kind, key.name, key.fields)
            if not problem:
                with contextlib.suppress(OSError):
                    os.utime(folder)  # when it was last used
                return folder
            _LOG.warning("cached %s %s is not used: %s", key.kind, key.name, problem)
    return None


def obtain(key: Key, build: Build) -> Path:
    """The verified folder of an entry, built now if there is none that verifies.

    Processes that ask at once build once: the others wait for it. Where the cache may not be written, the entry is
    built for this process alone, with a warning.

    Raises
    ------
    DferError
        If the disk is full, or another process holds the entry for over an hour.
        What ``build`` raises comes through; the cache is then as before.
    """
    found = find(key)
    if found is not None:
        return found
    with _locked(key) as folder:
        # Another process may have built it while this one waited.
        made = find(key) or _publish(key, folder, build)
    _shrink(made)
    return made


def put(key: Key, build: Build) -> Path:
    """Write an entry anew in place of what is there; raises as :func:`obtain`."""
    with _locked(key) as folder:
        return _publish(key, folder, build)


@contextlib.contextmanager
def publications() -> Iterator[list[Path]]:
    """The folders of entries that are written inside the block, by this thread and no other process."""
    made: list[Path] = []
    token = _published.set(made)
    try:
        yield made
    finally:
        _published.reset(token)


def discard(key_or_path: Key | Path) -> bool:
    """Remove an entry; False if there is none, or the path is no entry of this cache."""
    path = _folder(key_or_path) if isinstance(key_or_path, Key) else key_or_path
    roots = (settings.cache_folder(), _writable(ask=False))
    if path.parent.parent not in roots or path.parent.name not in KINDS or not path.is_dir():
        return False
    _remove(path)
    return not path.exists()


def entries(kind: str | None = None) -> list[Entry]:
    """What the cache holds, of one kind or of all, by kind and name. Nothing is verified yet."""
    kinds = KINDS if kind is None else (kind,)
    folders = [path for name in kinds for path in sorted(_children(settings.cache_folder() / name))]
    return [_entry(path) for path in folders if not path.name.startswith(_SCRATCH)]


def clear(kind: str | None = None) -> tuple[list[Entry], list[Entry]]:
    """Remove all entries, and what killed processes left; returns the removed and those in use by a build."""
    removed: list[Entry] = []
    busy: list[Entry] = []
    present = {entry.path: entry for entry in entries(kind)}
    for folder in sorted({*present, *_left_behind(kind)}):
        lock = FileLock(_lock_path(folder))
        try:
            with lock.acquire(timeout=0):
                _remove(folder)
                _remove_scratch(folder)
            done = removed
        except Timeout:
            done = busy
        except OSError as error:
            raise _unwritable(error) from error
        done += [present[folder]] if folder in present else []
    return removed, busy


def _left_behind(kind: str | None) -> set[Path]:
    """Entries of which only scratch folders are known."""
    kinds = KINDS if kind is None else (kind,)
    scratch = [path for name in kinds for path in _children(settings.cache_folder() / name)]
    names = {path: path.name.removeprefix(_SCRATCH).rpartition("-")[0] for path in scratch}
    return {path.with_name(name) for path, name in names.items() if path.name.startswith(_SCRATCH)}


def _folder(key: Key) -> Path:
    """Where an entry is written."""
    return _writable() / key.kind / key.name


def _folders(key: Key) -> list[Path]:
    """Where an entry may be: in the cache, and in that of this process if the cache may not be written."""
    return [root / key.kind / key.name for root in dict.fromkeys((settings.cache_folder(), _writable(ask=False)))]


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except PermissionError:
        return False


def _writable(ask: bool = True) -> Path:
    """The cache, or this process's own if it may not be written; ``ask`` False takes what an earlier call found."""
    root = settings.cache_folder()
    if ask and root not in _REFUSED:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
            if (root / "secret").exists():
                (root / "secret").read_bytes()
        except OSError as error:
            if error.errno not in _MAY_NOT:
                raise _unwritable(error) from error
            _REFUSED[root] = f"the cache in {root} cannot be written ({error.strerror})"
    return settings.temporary_cache(_REFUSED[root]) if root in _REFUSED else root


def _shrink(keep: Path) -> None:
    """Remove entries used longest ago while there are more bytes than allowed; what a process builds stays."""
    large = [entry for kind in ("networks", "engines") for entry in entries(kind) if entry.path != keep]
    room = settings.cache_limit() - sum(file.stat().st_size for file in keep.iterdir())
    for entry in sorted(large, key=lambda entry: -_used(entry.path)):
        room -= entry.bytes
        if room >= 0:
            continue
        with contextlib.suppress(Timeout, OSError), FileLock(_lock_path(entry.path)).acquire(timeout=0):
            _remove(entry.path)
            _LOG.info("cached %s %s is removed: the cache is full (DFER_EDGE_CACHE_MB)", entry.kind, entry.name)


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


@contextlib.contextmanager
def _locked(key: Key) -> Iterator[Path]:
    """Hold the entry's lock. The system frees it when its holder dies, so a lock file that is left blocks nobody."""
    folder = _folder(key)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(_lock_path(folder))
        try:
            lock.acquire(timeout=_QUIET_WAIT_S)
        except Timeout:
            _LOG.warning("waiting for another process that builds %s %s", key.kind, key.name)
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        reason = f"another process holds {_lock_path(folder)} for {_LOCK_TIMEOUT_S / 60:.0f} minutes"
        raise DferError(f"cannot build {key.name}: {reason}", "end it, or set DFER_EDGE_CACHE") from error
    except OSError as error:
        raise _unwritable(error) from error
    try:
        yield folder
    finally:
        lock.release()


def _publish(key: Key, folder: Path, build: Build) -> Path:
    # A folder is renamed in one step: a killed process leaves a scratch folder, never half an entry. After a power cut
    # the file system may have lost bytes that were written; then the hashes do not fit and the entry is rebuilt.
    try:
        _remove_scratch(folder)
        scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{folder.name}-", dir=folder.parent))
        try:
            build(scratch)
            cache_manifest.write(scratch, key.kind, key.name, key.fields)
            # Temporary folders are for their owner alone; an image's other users read what was built into it.
            scratch.chmod(0o755)
            _remove(folder)
            scratch.replace(folder)
            _published.get([]).append(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    except DferError:
        raise
    except OSError as error:
        raise _unwritable(error) from error
    return folder


def _remove(folder: Path) -> None:
    """Take an entry out of the way in one step, then delete it: a kill in between leaves a scratch folder."""
    if folder.exists():
        trash = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{folder.name}-", dir=folder.parent))
        folder.replace(trash)
        shutil.rmtree(trash, ignore_errors=True)


def _remove_scratch(folder: Path) -> None:
    """Delete what killed builders of an entry left; only with its lock held."""
    for left in folder.parent.glob(f"{_SCRATCH}{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _children(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _entry(path: Path) -> Entry:
    manifest = cache_manifest.read(path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != MANIFEST)
    created, fields = (manifest.created, manifest.fields) if manifest else ("", {})
    return Entry(path.parent.name, path.name, path, size, created, fields)


def _unwritable(error: OSError) -> DferError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "free space with dfer-edge cache clear, or " if full else ""
    hint = f"{hint}set DFER_EDGE_CACHE to another folder"
    return DferError(f"cannot write to the cache in {settings.cache_folder()}: {error}", hint)
