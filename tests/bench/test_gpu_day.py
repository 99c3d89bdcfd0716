"""The command of a GPU day: steps are bounded, what fails says why, and results come back."""

from __future__ import annotations

from pathlib import Path

from bench.studies.gpu_day import LIMIT_S, STEPS, Step, run


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
