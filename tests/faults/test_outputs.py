"""Outputs are whole or absent, and say every name as it is."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from dfer_edge import DferError, Recognizer
from dfer_edge.cli import console
from dfer_edge.sinks import write_csv, write_json, write_plot
from dfer_edge.sinks.plot import printable
from dfer_edge.sinks.video import VideoSink
from dfer_edge.system.whole_files import replacing
from tests.videos import marked


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_on_a_full_disk(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("before")
    with pytest.raises(DferError, match="No space left"):
        write_on_a_full_disk(path)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["out.json"]


_LIMITED = """
import resource, signal, sys, numpy as np
from dfer_edge import DferError
from dfer_edge.sinks.video import VideoSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
try:
    with VideoSink(sys.argv[1], 25) as sink:
        for _ in range(60): sink.write(rng.integers(0, 256, (64, 96, 3), np.uint8))
except DferError as error: print(error)
"""


def test_a_video_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as a full disk does."""
    path = tmp_path / "o.mp4"
    path.write_bytes(b"before")
    run = subprocess.run([sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, timeout=120)
    assert "cannot write" in run.stdout, run.stderr
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["o.mp4"]


@pytest.mark.parametrize("rate", [1e6, 0.0, 25.0])
def test_videos_are_whole_and_play(tmp_path: Path, rate: float) -> None:
    with VideoSink(tmp_path / "o:1.mp4", rate) as sink:
        for k in range(5):
            sink.write(marked(k)[:63, :95])
    with av.open(f"file:{tmp_path}/o:1.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height, stream.frames) == ("h264", 96, 64, 5)
        assert stream.average_rate == 25
    assert names(tmp_path) == ["o:1.mp4"]


_ENDLESS = """
import sys, numpy as np
from dfer_edge.cli import main, predict
from dfer_edge.sinks.video import VideoSink
def run(arguments):
    with VideoSink(sys.argv[1], 25) as sink:
        while True:
            sink.write(np.zeros((64, 96, 3), np.uint8)); print("w", flush=True)
predict.run = run
sys.exit(main.main(["predict", "x"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: int) -> None:
    script = _ENDLESS.replace("predict.run = run", "import argparse\npredict.add.__globals__['run'] = run")
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "o.mp4")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.stdout.close()
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() in (130, 143, 1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("title", ["$x_{", "面白い", "caf\udce9", "a\nb\x07", "[v1] {b} <c>"])
def test_odd_names_in_plots(
    tmp_path: Path, title: str, recognizer: Recognizer, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("matplotlib")
    timeline = recognizer.timeline(np.zeros((2, 32, 32, 3), np.uint8), faces="cropped")
    write_plot(tmp_path / "p.png", timeline, title)
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert printable(title).isprintable()
    write_json(tmp_path / "caf\udce9.json", timeline, {"name": title})
    write_csv(tmp_path / "caf\udce9.csv", timeline)
    assert len(names(tmp_path)) == 3


def test_brackets_stay_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console.STDOUT, Console)
    table = Table("name", box=None)
    table.add_row("w[v1].safetensors")
    console.STDOUT.print(table)
    console.STDOUT.print("w[bold]:smile:")
    shown = capsys.readouterr().out
    assert "w[v1].safetensors" in shown
    assert "w[bold]:smile:" in shown


@pytest.mark.parametrize("letter", ["n", "面"])
def test_names_as_long_as_names_may_be(tmp_path: Path, letter: str, recognizer: Recognizer) -> None:
    name = letter * (250 // len(letter.encode()))
    timeline = recognizer.timeline(np.zeros((2, 32, 32, 3), np.uint8), faces="cropped")
    write_json(tmp_path / f"{name}.json", timeline, {})
    with VideoSink(tmp_path / f"{name}.mp4", 25) as sink:
        sink.write(marked(0))
    assert names(tmp_path) == [f"{name}.json", f"{name}.mp4"]


def test_what_a_killed_process_left_goes_with_the_next_output(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for owner in (gone.pid, os.getppid()):
        (tmp_path / f".o.{owner}.partial.json").write_text("half")
    with replacing(tmp_path / "o.json") as partial:
        partial.write_text("whole")
    assert names(tmp_path) == [f".o.{os.getppid()}.partial.json", "o.json"]
