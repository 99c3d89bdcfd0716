"""``dfer-edge label``: every video and image of an archive to one table."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import positive, seconds, threads
from dfer_edge.engines import ENGINES, PRECISIONS
from dfer_edge.flow.clips import WINDOW_S
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    text = "a row a person and window; run it again after an interruption and it goes on where it was"
    parser = commands.add_parser("label", parents=[common], help="label an archive", description=f"{__doc__} {text}")
    add = parser.add_argument
    add("folder", type=Path, help="searched with its sub-folders")
    add("--out", type=_table, required=True, metavar="FILE.parquet", help="the table")
    add("--model", default="slowr50_sa", choices=["auto", *list_models()], help="default: %(default)s")
    add("--weights", default="default", help="default, random, or a .safetensors or .onnx file")
    add("--engine", default="auto", choices=("auto", *ENGINES))
    add("--precision", default="auto", choices=("auto", *PRECISIONS))
    add("--detector", default="auto", help="as predict takes it")
    add("--threads", type=threads, help="CPU threads of a process (default: all cores; on Ray one)")
    add("--window", type=seconds, default=WINDOW_S, metavar="S", help="seconds a window (default: %(default)s)")
    add("--ray", metavar="ADDRESS", help="a Ray cluster that sees the folder: host:port, auto, or local to start one")
    add("--workers", type=positive, metavar="N", help="processes on the cluster (default: its CPUs)")
    add("--json", action="store_true", help="the report as JSON")
    parser.set_defaults(run=run)


def _table(text: str) -> Path:
    if Path(text).suffix != ".parquet":
        raise argparse.ArgumentTypeError(f"expected a file that ends in .parquet, got {text!r}")
    return Path(text)


def run(arguments: argparse.Namespace) -> int:
    """Label and report."""
    from dfer_edge.label import label_archive
    from dfer_edge.label.rows import Setup

    names = ("model", "weights", "engine", "precision", "detector")
    # Workers share the cores of their machine.
    count = arguments.threads or (1 if arguments.ray else None)
    setup = Setup(**{name: getattr(arguments, name) for name in names}, threads=count, window_s=arguments.window)
    with console.progress("label") as progress:
        report = label_archive(arguments.folder, arguments.out, setup, arguments.ray, arguments.workers, progress)
    if arguments.json:
        console.print_json(dataclasses.asdict(report))
        return 0
    done = f"{report.labelled} files labelled, {report.known} known before"
    print(f"{done}; {report.no_face} without a face, {report.failed} failed; {report.rows} rows in {arguments.out}")
    return 0
