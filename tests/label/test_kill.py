"""Archives that are interrupted for good: SIGKILL on one machine, a worker of a Ray cluster killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from dfer_edge.label import label_archive
from dfer_edge.label.rows import Setup
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import small

pytestmark = pytest.mark.slow
FILES = int(os.environ.get("DFER_EDGE_TEST_FILES", "200"))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    path = weights.save(tmp_path_factory.mktemp("weights") / "small.safetensors", small("slowr50_sa").float())
    return Setup(weights=str(path), engine="onnxruntime", precision="fp32", detector="haar", threads=1, window_s=1.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    """Short files: a still of a face each, every tenth damaged."""
    import cv2

    from dfer_edge.sources.opening import open_source

    folder = tmp_path_factory.mktemp("archive")
    images = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR) for frame in open_source(astronaut)]
    for number in range(FILES):
        path = folder / f"{number:03d}.jpg"
        cv2.imwrite(str(path), images[number % len(images)])
        if number % 10 == 9:
            path.write_bytes(path.read_bytes()[:500])
    return folder


@pytest.fixture(scope="module")
def undisturbed(archive: Path, setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "labels.parquet"
    assert label_archive(archive, out, setup).failed == FILES // 10
    return out


def test_killed_five_times(archive: Path, setup: Setup, undisturbed: Path, tmp_path: Path) -> None:
    out, parts = tmp_path / "labels.parquet", tmp_path / "labels.parquet.parts"
    code = "import sys; from dfer_edge.cli.main import main; sys.exit(main())"
    words = ["label", str(archive), "--out", str(out), "--weights", setup.weights, "--engine", "onnxruntime"]
    words += ["--precision", "fp32", "--detector", "haar", "--threads", "1", "--window", "1"]
    for kill in range(1, 6):
        process = subprocess.Popen([sys.executable, "-c", code, *words])
        while process.poll() is None and len(list(parts.glob("*.parquet"))) < kill * FILES // 6:
            time.sleep(0.005)
        assert process.poll() is None, "killed at work"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 0
    assert pq.read_table(out).equals(pq.read_table(undisturbed))
    assert not parts.exists()


def test_on_a_cluster_with_a_worker_killed(archive: Path, setup: Setup, undisturbed: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="no Ray: pip install dfer-edge[ray]")
    shutil.rmtree(tmp_path / "labels.parquet.parts", ignore_errors=True)
    out = tmp_path / "labels.parquet"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    killed: list[int] = []

    def kill() -> None:
        own = os.getpid()
        while not killed:
            time.sleep(0.2)
            if len(list((tmp_path / "labels.parquet.parts").glob("*.parquet"))) < FILES // 10:
                continue
            found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
            workers = [int(row.split()[0]) for row in found.splitlines() if "ray::" in row and "MapWorker" in row]
            if workers and own not in workers:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        report = label_archive(archive, out, setup, ray_address="local", workers=2)
    finally:
        ray.shutdown()
    assert killed, "a worker was killed at work"
    assert report.labelled == FILES
    assert pq.read_table(out).equals(pq.read_table(undisturbed))
