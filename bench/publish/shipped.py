"""Rows measured anew into the results of the default weights: `python -m bench.publish.shipped FILE.jsonl [...]`.

Each file is of `dfer-edge bench --only ... --out FOLDER` on one device. A row takes the place of the one with its id in
that device's `shipped.jsonl`, every other row stays as it was; then `shipped.md` and docs/speed.md are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.publish import speed_page
from dfer_edge.bench.report import results, table

ROOT = Path(__file__).parents[2]
Line = dict[str, Any]


def merged(old: Sequence[Line], runs: Sequence[Sequence[Line]]) -> list[Line]:
    """Lines of a results file with the rows of other runs in their places.

    Parameters
    ----------
    old
        All lines of the file, of all the kinds in :mod:`dfer_edge.bench.report.results`.
    runs
        Lines of the runs; the run's own line is that of the last, with the commands of all.
    """
    rows = {line["id"]: line for line in old if line["kind"] == "row"}
    minutes = 0.0
    for run in runs:
        rows |= {line["id"]: line for line in run if line["kind"] == "row"}
        minutes += next(line["minutes"] for line in run if line["kind"] == "end")
    heads = [next(line for line in run if line["kind"] == "run") for run in runs]
    commands = [head["provenance"]["command"].split(" --out ")[0] for head in heads]
    head = {**heads[-1], "provenance": heads[-1]["provenance"] | {"command": "; ".join(commands)}}
    others = [line for line in old if line["kind"] not in ("run", "row", "end")]
    end = next(line for line in old if line["kind"] == "end") | {"minutes": round(minutes, 2)}
    return [head, *rows.values(), *others, end]


def publish(files: Sequence[Path], root: Path = ROOT) -> Path:
    """Merge files into the results under ``root``; returns the results file.

    Raises
    ------
    ValueError
        If the files are of several devices, or of none that has such results.
    """
    runs = [_lines(path) for path in files]
    devices = {run[0]["provenance"]["device"] for run in runs}
    folders: list[Path] = [root / "bench" / "results" / device for device in devices]
    if len(folders) != 1 or not (folders[0] / "shipped.jsonl").is_file():
        raise ValueError(f"expected runs of one device with a shipped.jsonl, got runs of {sorted(devices)}")
    out: Path = folders[0] / "shipped.jsonl"
    out.write_text("".join(json.dumps(line) + "\n" for line in merged(_lines(out), runs)))
    out.with_suffix(".md").write_text(table.markdown(results.read(out)))
    return out


def _lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    publish([Path(name) for name in sys.argv[1:]])
    speed_page.write()
