"""Many predictions leave no memory, no threads and no descriptors behind."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import pytest

from dfer_edge import Recognizer
from dfer_edge.engines import reasons
from tests.videos import write_video


def _held() -> tuple[int, int, int]:
    """Resident bytes, threads and descriptors of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads, descriptors = (len(list(Path(f"/proc/self/{what}").iterdir())) for what in ("task", "fd"))
    return pages * resource.getpagesize(), threads, descriptors


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_500_predictions(engine: str, tmp_path: Path) -> None:
    if reason := reasons(engine):
        pytest.skip(reason)
    recognizer = Recognizer("slowr50_sa", engine=engine, precision="fp32", threads=1)
    path = write_video(tmp_path / "v.mp4", [40 * k for k in range(6)])
    for _ in range(50):
        recognizer.predict(path, faces="cropped")
    before = _held()
    for _ in range(500):
        recognizer.predict(path, faces="cropped")
    after = _held()
    assert after[1:] == before[1:], "threads or descriptors were left"
    assert after[0] - before[0] < 0.02 * before[0], f"{(after[0] - before[0]) / 500:.0f} bytes a prediction"
