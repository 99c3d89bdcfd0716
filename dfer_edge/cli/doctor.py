"""``dfer-edge doctor``: what is installed, what this machine can do, and why not; tests of engines on a board."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dfer_edge.cli import console
from dfer_edge.cli.arguments import check_outputs
from dfer_edge.engines import PRECISIONS
from dfer_edge.inference import FORMS
from dfer_edge.models import list_models

if TYPE_CHECKING:
    from dfer_edge.doctor.self_test import Row


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("doctor", parents=[common], help="what works here, and why not", description=__doc__)
    parser.add_argument("--json", action="store_true")
    test = parser.add_argument_group("self-test", "builds, checks and times every network on this device")
    test.add_argument("--self-test", choices=("tensorrt",), metavar="ENGINE", help="tensorrt")
    test.add_argument("--models", nargs="+", choices=list_models(), metavar="MODEL", help="only these networks")
    test.add_argument(
        "--precisions", nargs="+", choices=[p for p in PRECISIONS if p != "bf16"], metavar="P", help="only these"
    )
    test.add_argument(
        "--forms",
        nargs="+",
        choices=FORMS,
        default=["2d"],
        metavar="FORM",
        help="of convolutions over time: 3d 2d shifted",
    )
    test.add_argument("--qdq", type=Path, metavar="FOLDER", help="Q/DQ files MODEL.onnx for int8 (default: made here)")
    test.add_argument("--samples", type=_samples, default=200, help="timed runs (default: %(default)s)")
    test.add_argument(
        "--out", type=Path, default=Path("tensorrt-self-test.json"), help="the file to send in (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def _samples(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1 timed run, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print the report, or run a test."""
    if arguments.self_test:
        return run_self_test(arguments)
    from dfer_edge.doctor.machine import report

    found = report()
    if arguments.json:
        console.print_json(found)
        return 0
    for section, entries in found.items():
        print(section)
        for name, value in entries.items():
            print(f"  {name:22} {value}")
    return 0


def run_self_test(arguments: argparse.Namespace) -> int:
    """Run it, write the file after each network, say what passed."""
    from dfer_edge.calibration.table import write_text
    from dfer_edge.doctor import self_test

    check_outputs("", [arguments.out], plots=False)

    def report(so_far: dict[str, Any]) -> None:
        # A board may hang or run out of power: what is known by then is worth sending.
        write_text(arguments.out, json.dumps(so_far, indent=1))
        row = self_test.Row(**so_far["rows"][-1])
        print(f"{row.model} {row.precision} {row.form}: {row.result} {row.reason}", file=sys.stderr)

    result = self_test.run(
        arguments.models,
        arguments.precisions or self_test.PRECISIONS,
        arguments.forms,
        arguments.qdq,
        arguments.samples,
        report,
    )
    rows = [self_test.Row(**row) for row in result["rows"]]
    if arguments.json:
        console.print_json(result)
    else:
        _print(result, rows)
        print(f"wrote {arguments.out}: please send it in with the output above")
    return 1 if any(row.result == "fail" for row in rows) else 0


def _print(result: dict[str, Any], rows: list[Row]) -> None:
    where = [result["board"], result["gpu"], f"sm {result['capability']}", result["l4t"], result["power_mode"]]
    if result["simulated"]:
        console.STDOUT.print("SIMULATED: no TensorRT and no GPU ran; times are of this CPU", style="bold yellow")
    console.STDOUT.print(f"TensorRT {result['tensorrt']} on {', '.join(filter(None, where))}", soft_wrap=True)
    table = Table("network", "precision", "form", "result", "difference", "build, s", "p50, ms", "p90, ms", box=None)
    for row in rows:
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        times = [_number(value) for value in (row.build_s, row.latency_ms, row.p90_ms)]
        table.add_row(row.model, row.precision, row.form, row.result, difference, *times)
    console.STDOUT.print(table, soft_wrap=True)
    if made_up := [row.model for row in rows if row.ranges.startswith("noise")]:
        print(f"int8 of {', '.join(dict.fromkeys(made_up))}: ranges of noise, nothing is said about accuracy")
    counts = {kind: sum(row.result == kind for row in rows) for kind in ("pass", "fail", "skip")}
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    for row in rows:
        if row.result != "pass":
            console.STDOUT.print(f"{row.result}: {row.model} {row.precision} {row.form}: {row.reason}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
