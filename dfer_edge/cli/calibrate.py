"""``dfer-edge calibrate``: ranges for int8 from videos of faces, and what int8 costs."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import LANDMARKS_HELP, PREPARED_HELP, check_outputs, threads
from dfer_edge.errors import InvalidInput
from dfer_edge.models import list_models
from dfer_edge.weights import file as weights

_RENDERERS = 2
_SHOWN = 10
_METHODS = ("entropy", "minmax", "percentile", "mse")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("calibrate", parents=[common], help="ranges for int8", description=__doc__)
    parser.add_argument("model", choices=list_models())
    clips = parser.add_mutually_exclusive_group(required=True)
    clips.add_argument("--clips", type=Path, metavar="FOLDER", help="videos and pictures of faces, or a rendered set")
    clips.add_argument(
        "--render", action="store_true", help="render clips for it (needs DFER_EDGE_FACE_MODEL), always the same ones"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.ranges.json")
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors file")
    parser.add_argument("--method", default="entropy", choices=_METHODS, help="default: %(default)s")
    parser.add_argument("--count", type=_count, default=512, help="clips at most (default: %(default)s)")
    parser.add_argument(
        "--max-drop",
        type=_points,
        default=0.5,
        metavar="POINTS",
        help="points of 100 that int8 may cost before layers stay float: of recall where classes are known (rendered "
        "clips), else of agreement; precision auto takes int8 up to 0.5 whatever this is",
    )
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write the report as JSON, Markdown and PNG")
    parser.add_argument("--detector", default="auto", help="auto (the shipped one), haar, yunet, dlib, or .onnx")
    parser.add_argument("--landmarks", metavar="FILE", help=LANDMARKS_HELP)
    parser.add_argument("--prepared", type=Path, metavar="DIR", help=PREPARED_HELP)
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number of clips, got {text!r}")
    return int(text)


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected 0 to 100 points, got {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Collect clips, calibrate, compare, write."""
    from dfer_edge.calibration import flow
    from dfer_edge.calibration.data import from_folder
    from dfer_edge.calibration.rendered import render
    from dfer_edge.calibration.report_files import report_paths, write_report
    from dfer_edge.export.onnx_file import export_onnx

    if arguments.render and arguments.prepared:
        raise InvalidInput("expected --prepared with --clips: rendered clips need no faces found")
    outputs = [arguments.out]
    if arguments.report is not None:
        outputs += report_paths(arguments.model, arguments.report)
    check_outputs(str(arguments.clips or ""), outputs, plots=False)
    # Not the registry's: weights say how large and how many frames they want their clips.
    spec = weights.resolve(arguments.model, arguments.weights).spec
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(arguments.model, Path(folder) / "fp32.onnx", arguments.weights)
        with console.progress("clips") as progress:
            given = (spec, arguments.count, arguments.detector, arguments.landmarks, progress)
            if arguments.render:
                clips = render(*given, workers=_RENDERERS)
            else:
                clips = from_folder(arguments.clips, *given, prepared=arguments.prepared)
        table, report = flow.run(
            path, clips, arguments.method, arguments.max_drop, arguments.threads, bar=console.progress
        )
    table.save(arguments.out)
    written = [arguments.out]
    if arguments.report is not None:
        plot = importlib.util.find_spec("matplotlib") is not None
        written += write_report(report, arguments.report, plot)
        if not plot:
            hint = 'pip install "dfer-edge[plots]"'
            print(f"no PNG of the report: matplotlib is not installed ({hint})", file=sys.stderr)
    _print(arguments, written, report, clips.skipped)
    return 0


def _print(arguments: argparse.Namespace, written: list[Path], report: Any, skipped: dict[str, str]) -> None:
    from dfer_edge.engines.planner import BUDGET

    found, within = report.comparison, report.comparison.drop <= arguments.max_drop
    if arguments.json:
        files = {"written": list(map(str, written)), "within_budget": within, "skipped": skipped}
        console.print_json(files | report.to_dict())
        return
    for path, reason in list(skipped.items())[:_SHOWN]:
        print(f"skipped {path}: {reason}")
    if more := Counter(list(skipped.values())[_SHOWN:]):
        print(f"skipped more: {', '.join(f'{reason} ({count})' for reason, count in more.items())}")
    kinds = [layer["kind"] for layer in report.layers]
    recall = f", mean recall {found.uar_delta:+.2f} points" if found.truth == "labels" else ""
    print(f"wrote {', '.join(map(str, written))}")
    print(
        f"{report.model}, weights {report.weights}, {report.method} on {report.calibration_clips} clips; int8 on "
        f"{found.clips} others: {100 * found.top1_agreement:.1f} % agreement with fp32, mean probability difference "
        f"{found.mean_probability_difference:.4f}{recall}; {kinds.count('int8')} of {len(kinds)} layers int8"
    )
    if not within:
        print(f"int8 costs {found.drop:.1f} points, more than {arguments.max_drop:g} with any layers in float")
    if not found.drop <= BUDGET:
        print(f"int8 costs {found.drop:.1f} points: precision auto takes it up to {BUDGET:g}, ask for int8 by name")
