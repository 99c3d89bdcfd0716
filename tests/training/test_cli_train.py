"""``dfer-edge train``: shards in, weights out; errors in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.cli import train as command
from dfer_edge.synthesis.storage import FORMAT
from dfer_edge.training import find_recipe
from dfer_edge.training.data.shards import open_shards
from dfer_edge.weights import file as weights
from tests.commands import run
from tests.training.tiny import LABELS, tiny_net


def shards(folder: Path, count: int = 16, **changes: object) -> Path:
    """A folder as ``dfer-edge synth`` writes it, of noise, with three classes."""
    rng = np.random.default_rng(0)
    fields: dict[str, object] = {
        "frames": rng.integers(0, 256, (count, 2, 40, 40, 3), dtype=np.uint8),
        "label": np.arange(count) % 3,
        "landmarks": rng.uniform(10, 30, (count, 2, 68, 2)).astype(np.float32),
        "action_units": rng.uniform(0, 1, (count, 2, 5)).astype(np.float32),
        "intensity": rng.uniform(0, 1, (count, 2)).astype(np.float32),
        "head_pose": np.zeros((count, 2, 3), np.float32),
        "times_s": np.zeros((count, 2), np.float32),
        "seed": np.zeros((count, 2), np.int64),
        "person": np.arange(count) // 2,
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "frames-00000.npy", fields.pop("frames"))
    np.savez(folder / "labels-00000.npz", **fields)  # type: ignore[arg-type]
    names = [*LABELS, "never asked for"]
    manifest = {"format": FORMAT, "job": {"classes": list(LABELS)}, "classes": names}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"shards": [{"number": 0, "count": count}]}))
    return folder


SMALL = [
    *("--set", "stages.epochs=1", "--set", "stages.batch=4", "--set", "stages.size=32"),
    *("--workers", "0", "--threads", "1", "--recipe", "renders", "--precision", "fp32"),
]


def test_a_run_from_shards_to_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the tiny network, which stands in for the one that the recipe would build."""
    net = tiny_net()
    net.spec = dataclasses.replace(net.spec, frames=2, size=32)
    monkeypatch.setattr(command, "_network", lambda *_: net)
    data = shards(tmp_path / "data")
    recipe = find_recipe("renders", "slowr50_sa")
    for head in ("units", "landmarks", "intensity"):  # the tiny network has no frame vectors for them
        recipe = recipe.override(f"losses.{head}", "0.0")
    one = dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[2]),))
    (tmp_path / "recipe.json").write_text(one.to_json())
    arguments = ["train", "slowr50_sa", "--data", f"shards:{data}", "--out", tmp_path / "out", *SMALL, "--json"]
    arguments[arguments.index("renders")] = tmp_path / "recipe.json"
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    result = json.loads(out)
    assert result["recipe"] == "renders"
    assert result["data"] == "shards:data"
    assert weights.load(result["weights"]["best"]).spec.labels == LABELS
    code, out, _ = run(capsys, *(a for a in arguments if a != "--json"))
    assert code == 0
    assert "UAR" in out


def test_the_recipe_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "train", "keypoint_tsa", "--show-recipe", "--set", "stages.0.epochs=3")
    assert code == 0
    assert json.loads(out)["stages"][0]["epochs"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x"], "expected --data NAME:PATH and --out FOLDER"),
        (
            ["--data", "shards:/nowhere", "--out", "x"],
            "expected a folder that holds the data set 'shards', found none at /nowhere",
        ),
        (["--data", "nonsense:/tmp", "--out", "x"], "expected NAME:PATH with a name out of shards"),
        (["--show-recipe", "--set", "epochs=1"], "'epochs' is none of"),
        (["--show-recipe", "--recipe", "other"], "expected a recipe out of paper, renders"),
        (["--show-recipe", "--recipe", "gone.json"], "expected a recipe, found no file"),
    ],
)
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, _, err = run(capsys, "train", "slowr50_sa", *arguments)
    assert code == 1
    assert message in err.splitlines()[0]
    assert len([line for line in err.splitlines() if not line.startswith("  hint")]) == 1


def test_a_field_without_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "slowr50_sa", "--show-recipe", "--set", "epochs")
    assert code == 2
    assert "argument --set: expected FIELD=VALUE, got 'epochs'" in err


@pytest.mark.parametrize(
    ("option", "value", "lowest"),
    [("--accumulate", "0", 1), ("--workers", "-1", 0), ("--seed", "-1", 0), ("--fold", "0", 1)],
)
def test_numbers_out_of_range(capsys: pytest.CaptureFixture[str], option: str, value: str, lowest: int) -> None:
    code, _, err = run(capsys, "train", "slowr50_sa", "--data", "shards:x", "--out", "y", f"{option}={value}")
    assert code == 2
    assert f"expected a whole number of at least {lowest}, got '{value}'" in err.splitlines()[-1]


def test_shards_without_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "train", "slowr50_sa", "--data", f"shards:{tmp_path}", "--out", tmp_path / "o")
    assert code == 1
    assert "found no manifest.json" in err
    assert "dfer-edge synth" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((16, 2, 40, 40, 3), np.float32)}, "expected uint8 frames"),
        ({"frames": np.zeros((16, 40, 40, 3), np.uint8)}, "expected uint8 frames"),
        ({"label": np.full(16, 3)}, "expected labels 0 to 2"),
        ({"landmarks": np.zeros((5, 2, 68, 2), np.float32)}, "expected 16 clips"),
    ],
)
def test_shards_that_disagree(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    from dfer_edge.errors import CorruptArtifact

    with pytest.raises(CorruptArtifact, match=message):
        open_shards(shards(tmp_path, **changes))


def test_a_corrupt_manifest(tmp_path: Path) -> None:
    from dfer_edge.errors import CorruptArtifact

    (shards(tmp_path) / "manifest.json").write_text('{"labels": 3}')
    with pytest.raises(CorruptArtifact, match="expected a manifest"):
        open_shards(tmp_path)


def test_a_class_without_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shards(tmp_path / "d", label=np.arange(16) % 2)
    code, _, err = run(capsys, "train", "slowr50_sa", "--data", f"shards:{data}", "--out", tmp_path / "o")
    assert code == 1
    assert "found none of angry" in err


def test_reading_shards(tmp_path: Path) -> None:
    data = open_shards(shards(tmp_path))
    sample = data.read(5, lambda length: [1, 0] if length == 2 else [])
    stored = np.load(tmp_path / "frames-00000.npy")
    np.testing.assert_array_equal(np.stack(sample.frames), stored[5][[1, 0]])
    assert sample.label == 5 % 3
    assert data.groups[5] == 2
    assert sample.landmarks is not None
    np.testing.assert_array_equal(sample.landmarks, np.load(tmp_path / "labels-00000.npz")["landmarks"][5][[1, 0]])
