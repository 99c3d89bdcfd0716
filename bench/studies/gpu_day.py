"""Everything that waits for a GPU, in one command of at most ten minutes and without a network.

python -m bench.studies.gpu_day --out gpu-day.json

Each step is a process of its own with a limit of time: the tests that need a GPU, compute-sanitizer, the kernels
against their floors, the self-test of TensorRT, networks with and without fused kernels, the pipeline of a camera. What
fails or takes too long is a row that says why, and the next step runs. ``--dry-run`` checks the commands: that each
program is there and takes its arguments. ``--publish gpu-day.json`` writes what came back to ``bench/results/DEVICE``:
``bench.jsonl``, from which ``python -m bench.publish.boards`` makes the board's page, and ``gpu_day.md``. Carry with it
the checkout, its virtual environment, and a cache filled by ``dfer-edge build`` where the machine has no time to
export. Built, not yet run on hardware.
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

from dfer_edge.errors import InvalidInput
from dfer_edge.system import provenance

LIMIT_S = 600.0
RESULTS = Path(__file__).resolve().parents[1] / "results"
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


BENCH = "kernels against their floors, engines and precisions"
PLACES = "networks with and without fused kernels"
STEPS = (
    Step("doctor", ("-m", "dfer_edge.cli.main", "doctor", "--json"), 20),
    Step(
        "gpu tests", ("-m", "pytest", "-q", "-m", "gpu", "tests/gpu", "--deselect", "tests/gpu/test_sanitizer.py"), 110
    ),
    Step("sanitizers", ("-m", "pytest", "-q", "-m", "gpu", "tests/gpu/test_sanitizer.py"), 90),
    Step(
        BENCH,
        (
            "-m",
            "dfer_edge.cli.main",
            "bench",
            "--quick",
            "--only",
            "kernel-cuda/*",
            "engine/slowr50_sa:default/torch/fp16/b1",
            "engine/slowr50_sa:default/tensorrt/*/b1",
            "engine/slowr50_sa:default/tensorrt-rtx/*/b1",
            "engine/slowr50_sa:default/onnxruntime-cuda/*/b1",
            "engine/slowr50_sa:default/onnxruntime-tensorrt/*/b1",
            "--out",
            "{out}/bench",
        ),
        170,
        "bench/bench.jsonl",
    ),
    Step(
        PLACES,
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
        40,
        "places.json",
    ),
    Step(
        "camera to probabilities",
        ("-m", "bench.studies.gpu_pipeline", "--out", "{out}/pipeline.json"),
        40,
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
        130,
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


def publish(path: Path, root: Path) -> Path:
    """Write what a day brought back below ``root``, in the folder of its device; that folder."""
    day = json.loads(path.read_text())
    lines = next((row.get("found") or [] for row in day["rows"] if row["step"] == BENCH), [])
    if not lines:
        raise InvalidInput(f"expected rows of {BENCH!r} in {path}, got none: which device they are of is not known")
    folder = root / str(lines[0]["provenance"]["device"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "gpu_day.md").write_text(table(day))
    return folder


def table(day: dict[str, Any]) -> str:
    """Markdown: a row a step, then those of networks with and without fused kernels."""
    head = f"commit {day['commit']}, {day['date']}, {day['processor']}"
    lines = ["# A day with a GPU", "", f"`python -m bench.studies.gpu_day`, {head}.", ""]
    lines += ["| step | result | seconds | reason |", "|---|---|---:|---|"]
    lines += [f"| {r['step']} | {r['result']} | {r.get('took_s', '-')} | {r.get('reason', '')} |" for r in day["rows"]]
    places: list[dict[str, Any]] = next(
        (row["found"]["rows"] for row in day["rows"] if row.get("found") and row["step"] == PLACES), []
    )
    timed = [row for row in places if "with" in row]
    if timed:
        lines += ["", "| network | kernel | engine | without, ms | with, ms | ratio |", "|---|---|---|---:|---:|---:|"]
    for row in timed:
        figures = (row["without"]["min"], row["with"]["min"], row["ratio_p50"])
        cells = [f"`{row['model']}`", f"`{row['kernel']}`", f"{row['engine']}/{row['precision']}"]
        lines.append(f"| {' | '.join([*cells, *(f'{figure:.3f}' for figure in figures)])} |")
    return "\n".join([*lines, ""])


def _subcommands(words: Sequence[str]) -> list[str]:
    return [words[0]] if words and not words[0].startswith("-") else []


def main() -> int:
    """Run, write after each step, so that what was found survives an end that comes early."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-day.json"))
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of all steps together")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--publish", type=Path, metavar="FILE", help="write the tables of a day that was")
    arguments = parser.parse_args()
    if arguments.publish:
        print(publish(arguments.publish, RESULTS))
        return 0
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
