"""``dfer-edge predict``: a table over time and one summary label."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dfer_edge.cli import console
from dfer_edge.cli.arguments import DEVICE_HELP, LANDMARKS_HELP, check_outputs, mp4, png, seconds, threads
from dfer_edge.engines import ENGINES, PRECISIONS
from dfer_edge.flow.clips import WINDOW_S
from dfer_edge.models import list_models
from dfer_edge.types import Timeline

if TYPE_CHECKING:
    from dfer_edge.recognizer import Recognizer


def add_recognizer_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `Recognizer`."""
    # The names would fill the usage of every command.
    parser.add_argument(
        "--model",
        default="slowr50_sa",
        choices=["auto", *list_models()],
        metavar="NETWORK",
        help="auto, or one that `dfer-edge models list` lists (default: %(default)s)",
    )
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors or .onnx file")
    parser.add_argument(
        "--engine", default="auto", choices=("auto", *ENGINES), metavar="ENGINE", help=f"auto, {', '.join(ENGINES)}"
    )
    parser.add_argument("--precision", default="auto", choices=("auto", *PRECISIONS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help=DEVICE_HELP)
    parser.add_argument("--detector", default="auto", help="auto (the shipped one), haar, yunet, dlib, or .onnx")
    parser.add_argument("--landmarks", metavar="FILE", help=LANDMARKS_HELP)
    parser.add_argument("--threads", type=threads, help="CPU threads of the engine (default: all cores)")
    parser.add_argument("--calibration", metavar="FILE", help="ranges for int8 (default: those beside the weights)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """What a recogniser says beside labels; with :func:`add_recognizer_arguments` for :func:`make_recognizer`."""
    parser.add_argument(
        "--signals", action="store_true", help="also action units, intensity, valence and arousal, from landmarks"
    )
    parser.add_argument(
        "--unknown-risk", type=float, metavar="R", help='label "unknown" where more than this share would be wrong'
    )


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict", parents=[common], help="expressions of the faces in a video", description=__doc__
    )
    parser.add_argument("source", help="video, image or folder of images")
    add_recognizer_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument(
        "--faces", default="detect", choices=("detect", "cropped"), help="cropped: frames are face crops"
    )
    parser.add_argument(
        "--window", type=seconds, default=WINDOW_S, metavar="S", help="seconds a window (default: %(default)s)"
    )
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="JSON to a file, or to stdout without one")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one row a window and person")
    parser.add_argument("--overlay", type=mp4, metavar="FILE.mp4", help="the video with boxes, labels and bars")
    parser.add_argument("--plot", type=png, metavar="FILE.png", help="probabilities over time")
    parser.set_defaults(run=run)


def make_recognizer(arguments: argparse.Namespace) -> Recognizer:
    """The recogniser that :func:`add_recognizer_arguments` describe."""
    from dfer_edge.recognizer import Recognizer

    return Recognizer(
        arguments.model,
        weights=arguments.weights,
        engine=arguments.engine,
        precision=arguments.precision,
        device=arguments.device,
        detector=arguments.detector,
        threads=arguments.threads,
        landmark_detector=arguments.landmarks or "auto",
        calibration=arguments.calibration,
        signals=arguments.signals,
        unknown_risk=arguments.unknown_risk,
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict and write what was asked for."""
    check_outputs(arguments.source, _outputs(arguments), plots=arguments.plot is not None)
    recognizer = make_recognizer(arguments)
    with console.progress("predict") as progress:
        timeline = recognizer.timeline(arguments.source, arguments.faces, window_s=arguments.window, progress=progress)
    if arguments.json != "-":
        _print(timeline, recognizer.info())
    _write(arguments, timeline, recognizer.info())
    return 0


def _outputs(arguments: argparse.Namespace) -> list[Path]:
    json_file = None if arguments.json in (None, "-") else Path(arguments.json)
    return [path for path in (json_file, arguments.csv, arguments.plot, arguments.overlay) if path is not None]


def _write(arguments: argparse.Namespace, timeline: Timeline, info: dict[str, Any]) -> None:
    from dfer_edge import sinks

    note = sinks.note_on(info["weights"]["name"])
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
    from dfer_edge.sinks import note_on

    out = console.STDOUT
    table = Table("time, s", "label", "confidence", "next", box=None, pad_edge=False)
    for o in timeline.primary:
        ranked = sorted(o.prediction.scores.items(), key=lambda item: -item[1])
        runner_up = f"{ranked[1][0]} {ranked[1][1]:.2f}"
        table.add_row(
            f"{o.start_s:.1f} - {o.time_s:.1f}", o.prediction.label, f"{o.prediction.confidence:.2f}", runner_up
        )
    out.print(table)
    seen = next(len(track) for track in timeline.tracks if track.track_id == timeline.primary_track)
    others = len(timeline.tracks) - 1
    more = f"; {others} more seen (--json and --csv have them)" if others else ""
    who = f"person {timeline.primary_track}, in {seen} of {timeline.frame_count} frames{more}"
    out.print(who, soft_wrap=True)
    p = timeline.prediction
    out.print(f"summary: {p.label} {p.confidence:.2f}", style="bold")
    if p.signals is not None:
        strong = sorted(p.signals.units.items(), key=lambda item: -item[1])
        units = ", ".join(f"{name} {value:.2f}" for name, value in strong if value >= 0.1) or "no action unit"
        named = ", ".join(f"{name} {getattr(p.signals, name):.2f}" for name in ("intensity", "valence", "arousal"))
        out.print(f"signals: {units}; {named}", soft_wrap=True)
    stages = ", ".join(f"{name} {ms:.0f}" for name, ms in p.timings_ms.items())
    run = f"{info['model']} on {info['engine']} {info['precision']}, {timeline.frame_count} frames; ms: {stages}"
    out.print(run, soft_wrap=True)
    if note := note_on(info["weights"]["name"]):
        out.print(note, style="yellow", soft_wrap=True)
