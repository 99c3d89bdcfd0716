"""Fetching model files: pinned address, sha256, resume; only when asked to."""

from __future__ import annotations

import dataclasses
import http.client
import urllib.request
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput
from dfer_edge.system import settings

_BLOCK = 1 << 16
_TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of others that the SDK can use.

    Attributes
    ----------
    name
        What ``dfer-edge models fetch`` takes.
    filename
        In the cache folder.
    address
        Pinned to a commit.
    sha256, size
        Of the whole file; size in bytes.
    licence
        Of the file, with its origin.
    """

    name: str
    filename: str
    address: str
    sha256: str
    size: int
    licence: str

    @property
    def path(self) -> Path:
        return settings.cache_folder() / "models" / self.filename


YUNET = RemoteFile(
    name="yunet",
    filename="face_detection_yunet_2026may.onnx",
    address=(
        "https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/"
        "models/face_detection_yunet/face_detection_yunet_2026may.onnx"
    ),
    sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    size=229_738,
    licence="MIT, OpenCV Zoo",
)

FILES = {file.name: file for file in (YUNET,)}


def fetch(name: str, address: str | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download a file into the cache folder, or return it if it is there and whole.

    Parameters
    ----------
    name
        A key of :data:`FILES`.
    address
        Another address of the same bytes (mirror).
    progress
        Called with bytes done and bytes in all.

    Raises
    ------
    InvalidInput
        For an unknown name.
    DferError
        If the address cannot be reached; what was received is kept and resumed.
    CorruptArtifact
        If the bytes are not the pinned ones; they are removed.
    """
    if name not in FILES:
        raise InvalidInput(f"expected one of {', '.join(FILES)}; got {name!r}")
    file = FILES[name]
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file.path}.lock"):
        if file.path.is_file() and file_sha256(file.path) == file.sha256:
            return file.path
        partial = file.path.with_name(f"{file.filename}.partial")
        _receive(file, address or file.address, partial, progress or (lambda done, total: None))
        actual = file_sha256(partial)
        if actual != file.sha256:
            partial.unlink()
            raise CorruptArtifact(f"expected sha256 {file.sha256} for {file.filename}, received {actual}; removed it")
        partial.replace(file.path)
    return file.path


def _receive(file: RemoteFile, address: str, partial: Path, progress: Callable[[int, int], None]) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= file.size:
        return
    if not address.startswith(("http://", "https://")):
        raise InvalidInput(f"expected an http or https address, got {address!r}")
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - checked above
            # A server that ignores the range sends the whole file: begin again.
            resumed = response.status == 206
            have = have if resumed else 0
            with partial.open("ab" if resumed else "wb") as out:
                while have <= file.size and (block := response.read(_BLOCK)):
                    out.write(block)
                    have += len(block)
                    progress(have, file.size)
        reason = f"the connection ended after {have} of {file.size} bytes" if have < file.size else ""
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = str(getattr(error, "reason", "") or error)
    if reason:
        raise DferError(
            f"could not fetch {file.name} from {address}: {reason}",
            f"offline? copy the file to {file.path} or set DFER_EDGE_YUNET to its path; a later fetch resumes",
        )
