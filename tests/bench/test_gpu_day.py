"""The command of a GPU day: steps are bounded, what fails says why, and results come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.studies.gpu_day import BENCH, LIMIT_S, PLACES, STEPS, Step, publish, run
from dfer_edge import InvalidInput
from dfer_edge.bench.report import boards, results
from tests.conftest import ROOT


def test_the_steps_fit_into_ten_minutes() -> None:
    assert sum(step.limit_s for step in STEPS) <= LIMIT_S == 600
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_a_step_brings_its_results_back(tmp_path: Path) -> None:
    code = "import pathlib; print('said'); pathlib.Path(r'{out}/rows.jsonl').write_text('{\"a\": 1}\\n{\"a\": 2}\\n')"
    row = run(Step("rows", ("-c", code), 30, "rows.jsonl"), tmp_path, 100)
    assert (row["result"], row["found"]) == ("pass", [{"a": 1}, {"a": 2}])
    assert "said" in row["said"]


def test_what_fails_or_takes_too_long_says_so(tmp_path: Path) -> None:
    row = run(Step("broken", ("-c", "raise SystemExit('no card')"), 30), tmp_path, 100)
    assert row["result"] == "fail"
    assert "no card" in row["said"]
    row = run(Step("slow", ("-c", "import time; time.sleep(60)"), 30), tmp_path, 1.5)
    assert (row["result"], row["reason"]) == ("fail", "longer than 2 s")
    assert run(Step("late", ("-c", ""), 30), tmp_path, 0.5) == {
        "step": "late", "command": ["-c", ""], "limit_s": 0.5, "result": "skip", "reason": "no time was left"
    }  # fmt: skip


def test_what_came_back_becomes_tables(tmp_path: Path) -> None:
    measured = ROOT / "bench" / "results" / "amd-epyc-avx512-bf16" / "shipped.jsonl"
    lines = [json.loads(line) for line in measured.read_text().splitlines()]
    board = boards.PAGES[0].devices[0]
    lines[0]["provenance"]["device"] = board.slug
    figures = {"without": {"min": 2.0}, "with": {"min": 1.0}, "ratio_p50": 0.5}
    place = {"model": "keypoint_tsa", "kernel": "landmark_pool", "engine": "torch", "precision": "fp16", **figures}
    rows = [
        {"step": "sanitizers", "result": "fail", "took_s": 3.5, "reason": "no tool"},
        {"step": BENCH, "result": "pass", "took_s": 60.0, "found": lines},
        {"step": PLACES, "result": "pass", "found": {"rows": [place, {"model": "slowr50_sa"}]}},
    ]
    day = tmp_path / "day.json"
    day.write_text(json.dumps({"commit": "abc", "date": "2026-12-01", "processor": "a board", "rows": rows}))
    folder = publish(day, tmp_path)
    assert folder.name == board.slug
    read = results.read(folder / "bench.jsonl")
    assert read.rows == results.read(measured).rows
    assert f"Measured: {board.name}." in boards.markdown(boards.PAGES[0], [read])
    page = (folder / "gpu_day.md").read_text()
    assert "| sanitizers | fail | 3.5 | no tool |" in page
    assert "| `keypoint_tsa` | `landmark_pool` | torch/fp16 | 2.000 | 1.000 | 0.500 |" in page
    day.write_text(json.dumps({"rows": [{"step": BENCH, "result": "skip"}]}))
    with pytest.raises(InvalidInput, match="expected rows of"):
        publish(day, tmp_path)
