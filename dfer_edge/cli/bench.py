"""``dfer-edge bench``: this machine checked, measured and pictured; comparison of runs; the papers' claims."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import threads
from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.system.whole_files import write_text

if TYPE_CHECKING:
    from dfer_edge.bench.plan import Plan
    from dfer_edge.bench.report.results import Results, Row


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command and its own: ``compare``, ``claims``, ``report``."""
    parser = commands.add_parser("bench", parents=[common], help="measure this machine", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="names or patterns of cases, see --list")
    parser.add_argument("--list", action="store_true", help="the cases that would run, without running them")
    parser.add_argument("--quick", action="store_true", help="fewer networks and samples, under two minutes")
    parser.add_argument("--threads", type=threads, help="CPU threads, pinned (default: all cores of this process)")
    parser.add_argument("--batches", nargs="+", type=_batch, default=[], metavar="N", help="of every engine")
    parser.add_argument("--video", type=Path, metavar="FILE", help="with a face, for the end-to-end cases")
    parser.add_argument("--data", help="labelled stills or clips, as evaluate --data: accuracy beside speed")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="int8 ranges of the shipped network")
    parser.add_argument(
        "--pipeline", nargs="+", default=[], metavar="MODULE:FACTORY", help="per-frame pipelines to compare"
    )
    parser.add_argument("--loadgen", action="store_true", help="a second opinion by mlcommons-loadgen")
    parser.add_argument("--bound-ms", type=_positive, default=100.0, help="of Server's p99 (default: %(default)s)")
    parser.add_argument("--rate", type=_positive, default=25.0, help="frames a second of live and glass cases")
    parser.add_argument("--seconds", type=_positive, default=10.0, help="how long a glass case takes")
    text = "bench.jsonl, bench.md, PNG (default: bench-DEVICE, with --quick or --only that and -quick or -only)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    parser.add_argument("--json", action="store_true", help="the rows on stdout too")
    parser.set_defaults(run=run)
    inner = parser.add_subparsers(title="commands", metavar="")
    _add_compare(inner, common)
    _add_claims(inner, common)
    report = inner.add_parser("report", parents=[common], help="table and figures of a results file, again")
    report.add_argument("file", type=Path)
    report.set_defaults(run=run_report)


def _add_compare(inner: Any, common: argparse.ArgumentParser) -> None:
    text = "exit code 0: B is as A; 1: slower, or something stopped working"
    compare = inner.add_parser("compare", parents=[common], help="two results files", description=text)
    compare.add_argument("first", type=Path, metavar="A.jsonl")
    compare.add_argument("second", type=Path, metavar="B.jsonl")
    compare.add_argument(
        "--tolerance", type=_positive, default=0.10, help="on the median factor (default: %(default)s)"
    )
    compare.add_argument("--row-tolerance", type=_positive, default=0.50, help="on one case (default: %(default)s)")
    compare.add_argument("--json", action="store_true")
    compare.set_defaults(run=run_compare)


def _add_claims(inner: Any, common: argparse.ArgumentParser) -> None:
    text = "the papers' efficiency claims: printed, computed, measured; reproduced, not reproducible or refuted"
    claims = inner.add_parser("claims", parents=[common], help="the papers' claims", description=text)
    claims.add_argument("--results", type=Path, metavar="FILE.jsonl", help="for the measured column")
    claims.add_argument("--out", type=Path, metavar="DIR", help="writes claims.json and claims.md")
    claims.add_argument("--json", action="store_true")
    claims.set_defaults(run=run_claims)


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a batch of 1 to 1024, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Measure, write, print."""
    plan = _plan(arguments)
    if plan is None:
        return 2
    if arguments.list:
        print("\n".join(plan.selected()))
        return 0
    from dfer_edge.bench import suite
    from dfer_edge.bench.measure.provenance import device_name
    from dfer_edge.bench.report.results import read

    # The command that measures one row again must not write over the run that it is of.
    part = "-only" if plan.only else "-quick" if plan.quick else ""
    folder = arguments.out or Path(f"bench-{device_name()}{part}")
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"expected a folder to write into, got the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    path, command = folder / "bench.jsonl", ""
    try:
        with console.progress("bench") as progress:

            def report(row: Row, done: int, total: int) -> None:
                nonlocal command
                progress(done, total)
                if row.ok and row.command != command:
                    print(f"$ {row.command}", file=sys.stderr)
                    command = row.command
                print(f"  {_line(row)}", file=sys.stderr)

            results = suite.run(plan, path, shlex.join(["dfer-edge", *_words(sys.argv)]), report)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is kept and marked as partial in {path}", file=sys.stderr)
        if path.is_file():
            _write(read(path))
        raise
    _show(results, _write(results), arguments.json)
    return 1 if any(row.status in ("failed", "wrong") for row in results.rows.values()) else 0


def _words(argv: list[str]) -> list[str]:
    """Arguments of the command, whatever it was started as."""
    from dfer_edge.bench.plan import portable

    return [portable(word) for word in argv[argv.index("bench") :]] if "bench" in argv else ["bench"]


def _plan(arguments: argparse.Namespace) -> Plan | None:
    """The plan; None after a line on stderr if a case has no such name."""
    from dfer_edge.bench.plan import Plan
    from dfer_edge.system import cpu

    try:
        return Plan(
            threads=arguments.threads or cpu.available_cores(),
            quick=arguments.quick,
            only=tuple(arguments.only),
            batches=tuple(arguments.batches),
            video=arguments.video,
            pipelines=tuple(arguments.pipeline),
            calibration=arguments.calibration,
            data=arguments.data,
            loadgen=arguments.loadgen,
            samples=30 if arguments.quick else 200,
            budget_s=3.0 if arguments.quick else 16.0,
            bound_ms=arguments.bound_ms,
            rate=arguments.rate,
            seconds=arguments.seconds,
        )
    except InvalidInput as error:
        print(f"dfer-edge bench: {error.message}\n  hint: {error.hint}", file=sys.stderr)
        return None


def _line(row: Row) -> str:
    if not row.ok:
        return f"{row.id}: {row.status}: {row.reason}"
    ms = row.latency_ms.get("p50")
    ratio = f", {row.ratio_p50:.2f} of {row.reference}" if row.ratio_p50 and row.reference != row.id else ""
    return f"{row.id}: {ms:.4g} ms{ratio}" if ms is not None else f"{row.id}: ok"


def _write(results: Results) -> list[Path]:
    """The page and the figures beside the results file; returns the paths of all, the page second."""
    from dfer_edge.bench.report import plots, table

    page = results.path.with_suffix(".md")
    write_text(page, table.markdown(results))
    written = [results.path, page]
    try:
        written += plots.write(results, results.path.parent)
    except DferError as error:
        print(f"no figures: {error}", file=sys.stderr)
    return written


def _show(results: Results, written: list[Path], as_json: bool) -> None:
    if as_json:
        import dataclasses

        rows = [dataclasses.asdict(row) for row in results.rows.values()]
        console.print_json({"provenance": results.provenance, "peaks": results.peaks, "rows": rows})
    else:
        print(written[1].read_text())
        print(f"wrote {', '.join(map(str, written))}")


def run_report(arguments: argparse.Namespace) -> int:
    """Write page and figures of a file again."""
    from dfer_edge.bench.report.results import read

    results = read(arguments.file)
    _show(results, _write(results), as_json=False)
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare; the exit code is the answer."""
    from dfer_edge.bench.report.compare import compare
    from dfer_edge.bench.report.results import read

    found = compare(read(arguments.first), read(arguments.second), arguments.tolerance, arguments.row_tolerance)
    if arguments.json:
        console.print_json(found.document())
    else:
        for change in found.changes:
            print(f"{change.factor:6.2f}  {change.id}  ({change.by} {change.before:.4g} -> {change.after:.4g})")
        if found.median is not None:
            print(f"median factor {found.median:.3f} over {len(found.changes)} cases")
        for note in found.notes:
            print(f"note: {note}")
        for problem in found.problems:
            print(f"PROBLEM: {problem}")
    return 1 if found.problems else 0


def run_claims(arguments: argparse.Namespace) -> int:
    """Compute, write, print."""
    from dfer_edge.bench.claims import judge as claims
    from dfer_edge.bench.report.results import read

    results = read(arguments.results) if arguments.results else None
    found = claims.check(results)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        claims.write(found, arguments.out, results)
    if arguments.json:
        console.print_json(claims.document(found, results))
    else:
        print(claims.markdown(found, results))
    return 0
