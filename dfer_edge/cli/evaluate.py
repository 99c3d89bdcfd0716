"""``dfer-edge evaluate``: metrics on labelled clips or stills, by engine and precision; JSON, PNG and HTML."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from dfer_edge.cli import console
from dfer_edge.cli.arguments import DEVICE_HELP, LANDMARKS_HELP, PREPARED_HELP, positive, threads
from dfer_edge.engines import ENGINES, PRECISIONS
from dfer_edge.errors import InvalidInput
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "evaluate", parents=[common], help="metrics on labelled clips or stills", description=__doc__
    )
    parser.add_argument("model", choices=list_models(), metavar="MODEL")
    parser.add_argument("--data", required=True, help="folder, CSV of path, label, or NAME:PATH of a data set")
    parser.add_argument("--fold", type=int, default=1, help="of a data set that has several (default: %(default)s)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="report.html, evaluation.json, figures")
    parser.add_argument(
        "--weights", nargs="+", default=["default"], help="default, random, .safetensors or .onnx files, side by side"
    )
    parser.add_argument("--engine", nargs="+", default=["auto"], choices=("auto", *ENGINES))
    parser.add_argument("--precision", nargs="+", default=["auto"], choices=("auto", *PRECISIONS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help=DEVICE_HELP)
    parser.add_argument("--detector", default="auto", help="auto (the shipped one), haar, yunet, dlib, or .onnx")
    parser.add_argument("--landmarks", metavar="FILE", help=LANDMARKS_HELP)
    parser.add_argument("--threads", type=threads, help="CPU threads of the engine (default: all cores)")
    parser.add_argument("--prepared", type=Path, metavar="DIR", help=PREPARED_HELP)
    parser.add_argument(
        "--faces",
        default="auto",
        choices=("auto", "detect", "cropped"),
        help="cropped: frames are face crops (auto: where the data set's layout says so)",
    )
    parser.add_argument("--classes", nargs="+", metavar="LABEL", help="use samples of these only")
    parser.add_argument("--jitter", type=_draws, metavar="N", help="also with N moved detector boxes a sample")
    parser.add_argument("--seed", type=int, default=0, help="of the moved boxes (default: %(default)s)")
    parser.add_argument(
        "--starts", nargs="+", type=float, default=[], metavar="SHARE", help="also with clips that begin there, 0 to 1"
    )
    parser.add_argument(
        "--perturb",
        nargs="+",
        type=float,
        default=[],
        metavar="LEVELS",
        help="also with pixels moved against them",
    )
    parser.add_argument("--fit-temperature", metavar="DATA", help="fit the temperature on another split")
    parser.add_argument("--video", type=Path, help="a video whose labels over time are known")
    parser.add_argument("--expect", nargs="+", default=[], metavar="LABEL:FIRST-LAST", help="frames of --video")
    parser.add_argument(
        "--map-samples", type=positive, default=400, metavar="N", help="in the map of features (default: %(default)s)"
    )
    parser.add_argument("--no-inside", action="store_true", help="no map of features, no Grad-CAM (they need torch)")
    parser.add_argument("--json", action="store_true", help="the document on stdout too")
    parser.set_defaults(run=run)


def _draws(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected 1 to 1000 boxes, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report, print the figures."""
    from dfer_edge.evaluation import figures
    from dfer_edge.evaluation.jitter import Jitter
    from dfer_edge.evaluation.plan import Plan, evaluate
    from dfer_edge.evaluation.report import write_report
    from dfer_edge.evaluation.timeline import parse_run

    figures.require_matplotlib()
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InvalidInput(f"expected a folder to write into, got the file {arguments.out}")
    if bool(arguments.expect) != (arguments.video is not None):
        raise InvalidInput("expected --video and --expect together, got one of them")
    plan = Plan(
        model=arguments.model,
        data=arguments.data,
        weights=arguments.weights,
        engines=arguments.engine,
        precisions=arguments.precision,
        device=arguments.device,
        detector=arguments.detector,
        threads=arguments.threads,
        landmark_detector=arguments.landmarks or "auto",
        faces=arguments.faces,
        classes=arguments.classes,
        fold=arguments.fold,
        jitter=Jitter(arguments.jitter, seed=arguments.seed) if arguments.jitter else None,
        fit_on=arguments.fit_temperature,
        video=arguments.video,
        prepared=arguments.prepared,
        starts=arguments.starts,
        perturb=arguments.perturb,
        runs=[parse_run(text) for text in arguments.expect],
    )
    with console.progress("evaluate") as progress:
        result = evaluate(plan, lambda _, done, total: progress(done, total))
    with console.progress("report") as progress:
        inside = not arguments.no_inside
        written = write_report(
            arguments.out, result, inside, lambda _, done, total: progress(done, total), arguments.map_samples
        )
    if arguments.json:
        console.print_json(result.content)
    else:
        _print(result.content)
        print(f"wrote {', '.join(str(path) for path in written)}")
    return 0


def _print(content: Mapping[str, Any]) -> None:
    jitter = content["protocol"]["jitter"]
    moved = ["WAR moved", "loss moved"] if jitter else []
    name = Column("engine/precision", no_wrap=True)
    table = Table(name, "WAR", "UAR", "log loss", "ECE", "agree", *moved, box=None, pad_edge=False)
    for column in content["columns"]:
        own = column["metrics"]
        cells = [f"{own['war']:.3f}", f"{own['uar']:.3f}", f"{own['log_loss']:.3f}", f"{own['ece']:.3f}"]
        cells.append(f"{column['agreement_with_first']:.3f}")
        cells += [f"{column['jitter'][key]:.3f}" for key in ("war_mean", "log_loss_mean")] if jitter else []
        table.add_row(column["name"], *cells)
    console.STDOUT.print(table)
    data = content["data"]
    kinds = content["protocol"]["faces"]
    counts = f"{data['scored']} of {data['samples']} samples ({kinds['face crops']} face crops)"
    lost = f"no face in {len(data['no_face'])} (wrong in WAR and UAR), {len(data['unreadable'])} unreadable"
    console.STDOUT.print(f"{counts}, {lost}", soft_wrap=True)
    if data["left_out_labels"]:
        words = ", ".join(f"{word} {count}" for word, count in data["left_out_labels"].items())
        console.STDOUT.print(f"left out, no class that was asked for: {words}", soft_wrap=True)
    for name, rows in content["probes"].items():
        heads = {"starts": "clips begin at {start:g}", "perturbed": "pixels moved by {levels:g} levels"}
        for row in rows:
            console.STDOUT.print(f"{heads[name].format(**row)}: WAR {row['war']:.3f}, UAR {row['uar']:.3f}")
    for video in content["timeline"]:
        runs = ", ".join(f"{run['label']} {run['first']}-{run['last']}" for run in video["runs"])
        verdict = "as expected" if video["as_expected"] else f"{len(video['wrong_frames'])} frames not as expected"
        console.STDOUT.print(f"{video['source']}, {video['column']}: {runs}: {verdict}", soft_wrap=True)
    for name, reason in content["unavailable"].items():
        console.STDOUT.print(f"{name} cannot run here: {reason}", soft_wrap=True)
    if content["note"]:
        console.STDOUT.print(content["note"], style="yellow", soft_wrap=True)
