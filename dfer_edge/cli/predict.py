"""``dfer-edge predict``: a table over time and one summary label."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from dfer_edge.cli import console
from dfer_edge.engines import ENGINES, PRECISIONS
from dfer_edge.errors import InvalidInput
from dfer_edge.models import list_models
from dfer_edge.types import Timeline


def add_recognizer_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Recognizer`."""
    parser.add_argument("--model", default="slowr50_sa", choices=list_models(), help="network (default: %(default)s)")
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors or .onnx file")
    parser.add_argument("--engine", default="auto", choices=("auto", *ENGINES))
    parser.add_argument("--precision", default="auto", choices=("auto", *PRECISIONS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--detector", default="auto", help="auto, haar, yunet, or a YuNet .onnx file")
    parser.add_argument(
        "--landmarks", metavar="FILE.onnx", help="68-point network, for networks that take landmarks (keypoint_tsa)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of the engine (default: all cores)")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict", parents=[common], help="expressions of the faces in a video", description=__doc__
    )
    parser.add_argument("source", help="video, image or folder of images")
    add_recognizer_arguments(parser)
    parser.add_argument(
        "--faces", default="detect", choices=("detect", "cropped"), help="cropped: frames are face crops"
    )
    parser.add_argument(
        "--window", type=float, default=4.0, metavar="S", help="seconds a window (default: %(default)s)"
    )
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="JSON to a file, or to stdout without one")
    parser.add_argument("--csv", metavar="FILE", help="one row a window and person")
    parser.add_argument("--overlay", metavar="FILE.mp4", help="the video with boxes, labels and bars")
    parser.add_argument("--plot", metavar="FILE.png", help="probabilities over time")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and write what was asked for."""
    from dfer_edge.recognizer import Recognizer

    _check_outputs(arguments)
    recognizer = Recognizer(
        arguments.model,
        weights=arguments.weights,
        engine=arguments.engine,
        precision=arguments.precision,
        device=arguments.device,
        detector=arguments.detector,
        threads=arguments.threads,
        landmark_detector=arguments.landmarks or "auto",
    )
    with console.progress("predict") as progress:
        timeline = recognizer.timeline(arguments.source, arguments.faces, window_s=arguments.window, progress=progress)
    if arguments.json != "-":
        _print(timeline, recognizer.info())
    _write(arguments, timeline, recognizer.info())
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    # Before the work, not after it.
    files = (arguments.csv, arguments.overlay, arguments.plot, None if arguments.json == "-" else arguments.json)
    for path in filter(None, files):
        if not Path(path).parent.is_dir():
            raise InvalidInput(f"expected a folder to write into, found none at {Path(path).parent}")
    if arguments.overlay and Path(arguments.overlay).suffix.lower() != ".mp4":
        raise InvalidInput(f"expected --overlay to end in .mp4, got {arguments.overlay}")


def _write(arguments: argparse.Namespace, timeline: Timeline, info: dict[str, Any]) -> None:
    from dfer_edge import sinks

    note = sinks.RANDOM_NOTE if info["weights"]["name"] == "random" else ""
    if arguments.json == "-":
        console.print_json(sinks.to_json(timeline, info))
    elif arguments.json:
        sinks.write_json(arguments.json, timeline, info)
    if arguments.csv:
        sinks.write_csv(arguments.csv, timeline)
    if arguments.plot:
        title = f"{Path(arguments.source).name}, {info['model']}" + (f" ({note})" if note else "")
        sinks.write_plot(arguments.plot, timeline, title)
    if arguments.overlay:
        with console.progress("overlay") as progress:
            sinks.write_overlay(arguments.overlay, arguments.source, timeline, note, progress)


def _print(timeline: Timeline, info: dict[str, Any]) -> None:
    from dfer_edge.sinks import RANDOM_NOTE

    out = console.STDOUT
    table = Table("time, s", "label", "confidence", "next", box=None, pad_edge=False)
    for o in timeline.primary:
        ranked = sorted(o.prediction.scores.items(), key=lambda item: -item[1])
        runner_up = f"{ranked[1][0]} {ranked[1][1]:.2f}"
        table.add_row(
            f"{o.start_s:.1f} - {o.time_s:.1f}", o.prediction.label, f"{o.prediction.confidence:.2f}", runner_up
        )
    out.print(table)
    others = len(timeline.tracks) - 1
    if others:
        out.print(f"person {timeline.primary_track}, seen longest; {others} more seen (all of them: --json, --csv)")
    p = timeline.prediction
    out.print(f"summary: {p.label} {p.confidence:.2f}", style="bold")
    stages = ", ".join(f"{name} {ms:.0f}" for name, ms in p.timings_ms.items())
    out.print(f"{info['model']} on {info['engine']} {info['precision']}, {timeline.frame_count} frames; ms: {stages}")
    if info["weights"]["name"] == "random":
        out.print(RANDOM_NOTE, style="yellow")
