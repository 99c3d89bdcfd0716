"""Every example runs as it stands; those of minutes in the slow suite."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import ASTRONAUT, ROOT

EXAMPLES = ROOT / "examples"


def example(name: str) -> Callable[..., None]:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., None] = module.main
    return main


def test_every_example_is_listed_and_tested() -> None:
    here = {path.stem for path in EXAMPLES.glob("*.py")}
    listed = set(re.findall(r"^\| \[(\w+)\.py\]", (EXAMPLES / "README.md").read_text(), re.M))
    tested = set(re.findall(r"example\(\"(\w+)\"\)", Path(__file__).read_text()))
    assert here == listed == tested
    # As the site puts them in: a formatter once took these marks for arithmetic.
    tutorials = "".join(path.read_text() for path in (ROOT / "docs" / "tutorials").glob("*.md"))
    assert set(re.findall(r'^--8<-- "examples/(\w+)\.py"$', tutorials, re.M)) == here


def test_predict_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    example("predict_file")(str(ASTRONAUT), str(tmp_path / "out"))
    assert "happy" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"timeline.json", "timeline.csv", "timeline.png", "overlay.mp4"}
    assert json.loads((tmp_path / "out" / "timeline.json").read_text())["recognizer"]["model"] == "slowr50_sa"


def test_watch_camera(capsys: pytest.CaptureFixture) -> None:
    example("watch_camera")(str(ASTRONAUT))
    assert "person 0: happy" in capsys.readouterr().out


def test_push_frames(capsys: pytest.CaptureFixture) -> None:
    example("push_frames")(str(ASTRONAUT))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 9
    assert all(line.startswith("Observation(") for line in lines)


def test_compare_clips(capsys: pytest.CaptureFixture) -> None:
    example("compare_clips")(str(ASTRONAUT), str(ASTRONAUT))
    cells = re.findall(r"-?\d\.\d*", capsys.readouterr().out)
    np.testing.assert_allclose([float(cell) for cell in cells], 1, atol=2e-3)


def test_own_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("torch")
    example("own_weights")(str(ASTRONAUT), str(tmp_path / "mine.safetensors"))
    assert "weights mine.safetensors" in capsys.readouterr().out


def test_ask_server(capsys: pytest.CaptureFixture) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    from dfer_edge import Recognizer
    from dfer_edge.serve import Config
    from dfer_edge.serve.app import create_app

    app = create_app(Recognizer("slowr50_sa", threads=1), Config())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        example("ask_server")(str(ASTRONAUT), f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()
    assert "happy" in capsys.readouterr().out


def test_label_archive(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "videos").mkdir()
    shutil.copy(ASTRONAUT, tmp_path / "videos" / "a.mp4")
    example("label_archive")(str(tmp_path / "videos"), str(tmp_path / "labels.parquet"))
    assert "'label': 'happy'" in capsys.readouterr().out


@pytest.mark.slow
def test_quantise(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("openvino")
    example("quantise")(str(media / "stills"), str(tmp_path / "out"))
    found = re.search(r"labels agree on (\d+)%", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) >= 80


@pytest.mark.slow
def test_reproduce_paper(media: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from dfer_edge.synthesis import SyntheticClips, write_clips

    (model,) = (media / "face_model").glob("*.npz")
    write_clips(SyntheticClips(42, frames=8, size=64, workers=2, model=model), tmp_path / "renders")
    example("reproduce_paper")(str(tmp_path / "renders"), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "reproduction.json").read_text())


@pytest.mark.slow
def test_notebook() -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("ipykernel")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "timeline.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]  # no committed outputs: they go stale
    nbclient.NotebookClient(
        notebook, timeout=600, startup_timeout=600, resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    kinds = {kind for cell in notebook.cells for out in cell.get("outputs", []) for kind in out.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
