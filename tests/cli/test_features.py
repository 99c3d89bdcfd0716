"""``dfer-edge features``: a NumPy archive that says where it is from, whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge.cli.main import main
from tests.conftest import ASTRONAUT

QUICK = ["--engine", "onnxruntime", "--precision", "fp32", "--threads", "1"]


def test_files_and_folders_to_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "clips"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(ASTRONAUT, folder / "deeper" / "a[1].mp4")
    cv2.imwrite(str(folder / "wall.png"), np.full((80, 80, 3), 127, np.uint8))
    (folder / "notes.txt").write_text("no media")
    out = tmp_path / "x.npz"
    assert main(["features", str(folder), str(ASTRONAUT), "-o", str(out), "--json", *QUICK]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == 2
    assert list(report["skipped"]) == [str(folder / "wall.png")]
    assert "no face" in report["skipped"][str(folder / "wall.png")]
    with np.load(out) as archive:  # no pickles
        assert archive["embeddings"].shape == (2, 512)
        assert archive["embeddings"].dtype == np.float32
        np.testing.assert_array_equal(archive["embeddings"][0], archive["embeddings"][1])
        assert list(archive["files"]) == [str(folder / "deeper" / "a[1].mp4"), str(ASTRONAUT)]
        assert str(archive["model"]) == "slowr50_sa"
        assert len(str(archive["weights_sha256"])) == 64
        assert str(archive["engine"]) == "onnxruntime/fp32"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.mp4", "-o", "x.npz"], 1, "found nothing at nowhere.mp4"),
        (["empty", "-o", "x.npz"], 1, "found none"),
        (["empty", "-o", "x.csv"], 2, ".npz"),
        (["wall.png", "-o", "none/x.npz"], 1, "none at none"),
        (["wall.png", "-o", "x.npz", *QUICK], 1, "no vector of 1 files"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    cv2.imwrite("wall.png", np.full((80, 80, 3), 127, np.uint8))
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(["features", *arguments])
    else:
        assert main(["features", *arguments]) == code
    assert says in capsys.readouterr().err
    assert not Path("x.npz").exists()
