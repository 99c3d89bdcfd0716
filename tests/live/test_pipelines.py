"""GStreamer pipelines through `gst-launch-1.0`, which a script with the same mouth stands in for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, SourceLost
from dfer_edge.live import cameras
from dfer_edge.live.cameras import Camera

PIPELINE = "v4l2src device=/dev/video0 ! videoconvert ! appsink"
COLOURS = [(200, 40, 40), (30, 180, 60), (20, 60, 220)]


def y4m(colours: list[tuple[int, int, int]], width: int = 16, height: int = 8) -> bytes:
    """What `y4menc` writes."""
    found = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420\n".encode()
    for colour in colours:
        image = np.full((height, width, 3), colour, np.uint8)
        found += b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes()
    return found


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write into ``out`` what the command shall print; it leaves its arguments in ``words``."""
    program = tmp_path / "gst-launch-1.0"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\nhere = pathlib.Path(__file__).parent\n"
        "(here / 'words').write_text('\\n'.join(sys.argv[1:]))\n"
        "sys.stdout.buffer.write((here / 'out').read_bytes())\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(cameras, "_opencv_has_gstreamer", lambda: False)
    return tmp_path


def test_frames_come_in_their_colours(launch: Path) -> None:
    (launch / "out").write_bytes(y4m(COLOURS) + b"FRAME\ncut off")
    camera = Camera(PIPELINE, "camera", 5.0)
    found = list(camera.frames())
    camera.release()
    assert [image.shape for image in found] == [(8, 16, 3)] * 3
    for image, colour in zip(found, COLOURS, strict=True):
        np.testing.assert_allclose(image.mean((0, 1)), colour, atol=6)
    words = (launch / "words").read_text().splitlines()
    assert words[:4] == ["-q", "v4l2src", "device=/dev/video0", "!"]
    assert words[-5:] == ["y4menc", "!", "fdsink", "fd=1", "sync=false"]
    assert "appsink" not in words


def test_a_pipeline_that_ends_at_once_and_one_of_odd_size(launch: Path) -> None:
    (launch / "out").write_bytes(b"")
    with pytest.raises(SourceLost, match="ends at once"):
        list(Camera(PIPELINE, "camera", 5.0).frames())
    (launch / "out").write_bytes(b"YUV4MPEG2 W15 H9 F25:1\nFRAME\n")
    with pytest.raises(InvalidInput, match="even width and height, got 15x9"):
        list(Camera(PIPELINE, "camera", 5.0).frames())


def test_without_gstreamer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cameras, "_opencv_has_gstreamer", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"gst-launch-1\.0") as missing:
        Camera(PIPELINE, "camera", 5.0)
    assert "apt install" in (missing.value.hint or "")


@pytest.mark.parametrize("loads", [False, True])
def test_only_a_gstreamer_that_loads_counts(loads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Wheels of OpenCV list GStreamer among their back ends, as one that could be plugged in.
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: loads and backend == cv2.CAP_GSTREAMER)
    assert cameras._opencv_has_gstreamer() is loads
