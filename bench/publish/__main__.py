"""Measure this machine and write all that is published: results, page, figures, claims, docs/speed.md, boards' pages.

python -m bench.publish [--threads 2] [--data FOLDER_OF_LABELLED_STILLS] [--again]

With ``--again`` the suite runs twice, the second time into a temporary folder, and what the comparison of the two says
stays as ``agreement.json`` beside the results.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.publish import boards, speed_page
from dfer_edge.bench.measure.provenance import device_name
from dfer_edge.bench.report.compare import compare
from dfer_edge.bench.report.results import Results, read

ROOT = Path(__file__).parents[2]


def call(*words: str) -> int:
    """A command of ours, as a user types it; returns its exit code."""
    print("$ dfer-edge", *words, flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "dfer_edge.cli.main", *words], env=environment, check=False).returncode


def main() -> int:
    """Run; 1 if a case failed or two runs do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    folder = Path("bench") / "results" / device_name()
    words = ["bench", "--threads", arguments.threads, "--loadgen"]
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--quick"] if arguments.quick else []
    evidence = folder / "agreement.json"
    # Of another run, it would be evidence of nothing.
    evidence.unlink(missing_ok=True)
    code = call(*words, "--out", str(folder))
    code |= call("bench", "claims", "--results", str(folder / "bench.jsonl"), "--out", str(folder))
    if arguments.again:
        with tempfile.TemporaryDirectory() as other:
            call(*words, "--out", other)
            found = agreement(read(folder / "bench.jsonl"), read(Path(other) / "bench.jsonl"))
        evidence.write_text(json.dumps(found, indent=1) + "\n")
        print(evidence.read_text())
        code |= bool(found["problems"])
    speed_page.write()
    boards.write()
    return code


def agreement(first: Results, second: Results) -> dict[str, Any]:
    """The second run against the first, JSON-safe: factors above 1 are slower the second time.

    Returns
    -------
    ``date`` and ``minutes`` of both runs, whether they were ``quick``, ``load_before`` each, number of ``cases``,
    ``median`` factor and ``median_factor_by_kind``, ``largest_difference`` (either way),
    ``problems`` and ``notes`` of the comparison.

    Raises
    ------
    InvalidInput
        If the runs have no measured case in common.
    """
    found = compare(first, second)
    kinds: dict[str, list[float]] = {}
    for change in found.changes:
        kinds.setdefault(change.id.split("/")[0], []).append(change.factor)
    largest = max(found.changes, key=lambda change: abs(math.log(change.factor)), default=None)
    runs = (first, second)

    def told(lines: list[str]) -> list[str]:
        return [line.replace(str(second.path), "the second run") for line in lines]

    return {
        "date": [run.provenance["date"] for run in runs],
        "quick": bool(first.plan.get("quick")),
        "minutes": [run.minutes for run in runs],
        "load_before": [run.provenance["load_before"] for run in runs],
        "cases": len(found.changes),
        "median": found.median,
        "median_factor_by_kind": {kind: statistics.median(factors) for kind, factors in kinds.items()},
        "largest_difference": {"id": largest.id, "factor": largest.factor, "by": largest.by} if largest else None,
        "problems": told(found.problems),
        "notes": told(found.notes),
    }


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
