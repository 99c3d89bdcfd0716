"""Everything that waits for a GPU, in one command of at most ten minutes and without a network.

python -m bench.studies.gpu_day --out gpu-day.json

Each step is a process of its own with a limit of time: the tests that need a GPU, compute-sanitizer, the kernels
against their floors, the self-test of TensorRT, networks with and without fused kernels, the pipeline of a camera. What
fails or takes too long is a row that says why, and the next step runs. ``--dry-run`` checks the commands: that each
program is there and takes its arguments. Carry with it the checkout, its virtual environment, and a cache filled by
``dfer-edge build`` where the machine has no time to export. Built, not yet run on hardware.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge.system import provenance

LIMIT_S = 600.0
_KEPT = 4000


@dataclasses.dataclass(frozen=True)
class Step:
    """One process: its arguments after ``python``, its share of the time, and a file of results that it writes."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float
    result: str = ""

    def command(self, folder: Path) -> list[str]:
        """As it is run; ``{out}`` is the folder of results."""
        return [sys.executable, *(argument.replace("{out}", str(folder)) for argument in self.arguments)]


STEPS = (
    Step("doctor", ("-m", "dfer_edge.cli.main", "doctor", "--json"), 20),
    Step(
        "gpu tests", ("-m", "pytest", "-q", "-m", "gpu", "tests/gpu", "--deselect", "tests/gpu/test_sanitizer.py"), 120
    ),
    Step("sanitizers", ("-m", "pytest", "-q", "-m", "gpu", "tests/gpu/test_sanitizer.py"), 100),
    Step(
        "kernels against their floors",
        ("-m", "dfer_edge.cli.main", "bench", "--only", "kernel-cuda/*", "--out", "{out}/kernels"),
        80,
        "kernels/bench.jsonl",
    ),
    Step(
        "networks with and without fused kernels",
        (
            "-m",
            "bench.studies.kernel_places",
            "--device",
            "cuda",
            "--precisions",
            "fp16",
            "--budget",
            "4",
            "--models",
            "slowr50_sa",
            "keypoint_tsa",
            "--out",
            "{out}/places.json",
        ),
        60,
        "places.json",
    ),
    Step(
        "camera to probabilities",
        ("-m", "bench.studies.gpu_pipeline", "--out", "{out}/pipeline.json"),
        60,
        "pipeline.json",
    ),
    Step(
        "TensorRT",
        (
            "-m",
            "dfer_edge.cli.main",
            "doctor",
            "--self-test",
            "tensorrt",
            "--models",
            "slowr50_sa",
            "--samples",
            "50",
            "--out",
            "{out}/tensorrt.json",
        ),
        160,
        "tensorrt.json",
    ),
)


def run(step: Step, folder: Path, left_s: float) -> dict[str, Any]:
    """A row: what came of a step, its output's end, and its results."""
    begin, limit = time.monotonic(), min(step.limit_s, left_s)
    row: dict[str, Any] = {"step": step.name, "command": list(step.arguments), "limit_s": limit}
    if limit <= 1:
        return row | {"result": "skip", "reason": "no time was left"}
    try:
        done = subprocess.run(step.command(folder), capture_output=True, text=True, timeout=limit, check=False)
        row |= {"result": "pass" if done.returncode == 0 else "fail", "said": (done.stdout + done.stderr)[-_KEPT:]}
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        row |= {
            "result": "fail",
            "reason": f"longer than {limit:.0f} s",
            "said": said.decode(errors="replace")[-_KEPT:],
        }
    row["took_s"] = round(time.monotonic() - begin, 1)
    path = folder / step.result
    if step.result and path.is_file():
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else []
        row["found"] = [json.loads(line) for line in lines] if lines else json.loads(path.read_text())
    return row


def dry(step: Step, folder: Path) -> dict[str, Any]:
    """Whether a step's program is there and knows its arguments, without running it."""
    module, rest = step.arguments[1], step.arguments[2:]
    probe = ["--collect-only"] if module == "pytest" else ["--help"]
    known = [one for one in rest if module != "pytest" and one.startswith("--")]
    words = [*rest, *probe] if module == "pytest" else [*_subcommands(rest), *probe]
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    missing = [one for one in known if one not in said]
    reason = f"does not know {', '.join(missing)}" if missing else "" if done.returncode == 0 else said[-500:]
    return {
        "step": step.name,
        "command": step.command(folder)[1:],
        "result": "fail" if reason else "dry",
        "reason": reason,
    }


def _subcommands(words: Sequence[str]) -> list[str]:
    return [words[0]] if words and not words[0].startswith("-") else []


def main() -> int:
    """Run, write after each step, so that what was found survives an end that comes early."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-day.json"))
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of all steps together")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS])
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.out.resolve().with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    result: dict[str, Any] = {**provenance.versions(), "dry_run": arguments.dry_run, "rows": []}
    for step in STEPS:
        if arguments.only and step.name not in arguments.only:
            continue
        left = arguments.limit - (time.monotonic() - begin)
        row = dry(step, folder) if arguments.dry_run else run(step, folder, left)
        result["rows"].append(row)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"{row['result']:5} {step.name}: {row.get('took_s', 0)} s {row.get('reason', '')}", flush=True)
    return 1 if any(row["result"] == "fail" for row in result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
