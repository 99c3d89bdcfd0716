"""``dfer-edge live``: cameras, streams or files to observations as they happen."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfer_edge.cli.arguments import mp4, seconds
from dfer_edge.cli.predict import add_output_arguments, add_recognizer_arguments
from dfer_edge.engines import PRECISIONS
from dfer_edge.errors import InvalidInput
from dfer_edge.flow.clips import WINDOW_S
from dfer_edge.live.options import HOP_S, SMOOTHINGS, Limits

if TYPE_CHECKING:
    from dfer_edge.live import LiveStream
    from dfer_edge.recognizer import Recognizer
    from dfer_edge.sinks.records import ObservationSink


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("live", parents=[common], help="expressions as they happen", description=__doc__)
    text = "camera index, /dev/video0, rtsp or http address, GStreamer pipeline, video file; several go together"
    parser.add_argument("source", nargs="+", help=text)
    add_recognizer_arguments(parser)
    add_output_arguments(parser)
    _add_stream(parser)
    _add_sinks(parser)
    parser.set_defaults(run=run)


def _add_stream(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--faces", default="detect", choices=("detect", "cropped"), help="cropped: frames are face crops")
    add("--window", type=seconds, default=WINDOW_S, metavar="S", help="seconds looked back (default: %(default)s)")
    add(
        "--hop",
        type=_hop,
        default=HOP_S,
        metavar="S",
        help="seconds between observations, 0: every frame (default: %(default)s)",
    )
    add("--deadline-ms", type=_positive, metavar="MS", help="observations that would be older are not made")
    add(
        "--limit-hop",
        type=_positive,
        metavar="S",
        help=f"the deadline may lengthen the hop to it (default: {Limits().hop_s})",
    )
    add(
        "--limit-beat",
        type=_positive,
        metavar="S",
        help=f"and the time between looks for newcomers (default: {Limits().beat_s})",
    )
    add(
        "--limit-precisions",
        metavar="P,...",
        type=_precisions,
        help="and switch to these, in this order (default: none)",
    )
    add("--smoothing", default="exponential", choices=SMOOTHINGS, help="default: %(default)s")
    add("--unknown-below", type=_share, metavar="P", help='confidence under which the label is "unknown"')
    add("--realtime", action="store_true", help="play files at their speed, dropping frames as a camera would")
    add("--timeout", type=_positive, metavar="S", help="seconds without a frame after which it fails (default: never)")
    add("--no-reconnect", action="store_true", help="fail when a live source is lost")
    add("--seconds", type=_positive, metavar="S", help="stop after so long")


def _add_sinks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", nargs="?", const="-", metavar="FILE", help="JSON lines to a file, or to stdout without one")
    add("--csv", type=Path, metavar="FILE", help="one row an observation")
    add("--show", action="store_true", help="a window; q closes it")
    add("--video", type=mp4, metavar="FILE.mp4", help="every frame of the first source with boxes, labels and bars")
    add("--websocket", type=int, metavar="PORT", help="send observations to all who listen on 127.0.0.1:PORT")
    add("--mqtt", metavar="ADDRESS", help="publish: mqtt://[user:password@]host[:port][/topic]")
    add("--osc", metavar="HOST:PORT", help="send by Open Sound Control")
    add("--stats", action="store_true", help="what was read, dropped and late, as JSON on stderr at the end")


def _hop(text: str) -> float:
    return 0.0 if text.strip("0.") == "" and text else seconds(text)


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def _precisions(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    if unknown := [name for name in found if name not in PRECISIONS]:
        raise argparse.ArgumentTypeError(f"expected precisions out of {', '.join(PRECISIONS)}; got {unknown[0]!r}")
    return found


def _limits(arguments: argparse.Namespace) -> Limits | None:
    """What was said of them; an error without the deadline that they are of."""
    given = {"hop_s": arguments.limit_hop, "beat_s": arguments.limit_beat, "precisions": arguments.limit_precisions}
    said = {name: value for name, value in given.items() if value is not None}
    if said and not arguments.deadline_ms:
        raise InvalidInput("expected limits of a deadline, got no --deadline-ms")
    return Limits(**said) if said else None


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def run(arguments: argparse.Namespace) -> int:
    """Stream until the sources end, the time is over or the user stops it."""
    from dfer_edge.cli.predict import make_recognizer
    from dfer_edge.sinks import note_on

    recognizer = make_recognizer(arguments)
    note = note_on(recognizer.info()["weights"]["name"])
    if note:
        print(note, file=sys.stderr)
    with contextlib.ExitStack() as stack:
        overlays, window = _overlays(arguments, note, stack)
        sinks = [*overlays, *_sinks(arguments, stack)]

        def on_frame(*seen: Any) -> None:
            for overlay in overlays:
                overlay.on_frame(*seen)

        stream = stack.enter_context(_stream(arguments, recognizer, on_frame if overlays else None))
        try:
            _pump(stream, sinks, window, arguments.seconds)
        finally:
            if arguments.stats:
                print(json.dumps(stream.stats().to_dict()), file=sys.stderr)
    return 0


def _stream(arguments: argparse.Namespace, recognizer: Recognizer, on_frame: Any) -> LiveStream:
    source = arguments.source[0] if len(arguments.source) == 1 else arguments.source
    return recognizer.stream(
        source,
        arguments.faces,
        window=arguments.window,
        hop=arguments.hop,
        on_frame=on_frame,
        deadline_ms=arguments.deadline_ms,
        limits=_limits(arguments),
        smoothing=arguments.smoothing,
        unknown_below=arguments.unknown_below,
        realtime=arguments.realtime,
        timeout_s=arguments.timeout,
        reconnect=not arguments.no_reconnect,
    )


def _pump(stream: LiveStream, sinks: list[ObservationSink], window: Any, limit_s: float | None) -> None:
    stream.start()
    if limit_s:
        # From a thread of its own: a source that stalls gives no observation at which to look at the clock.
        timer = threading.Timer(limit_s, stream.close)
        timer.daemon = True
        timer.start()
    for observation in stream:
        for sink in sinks:
            sink.write(observation)
        if window is not None and not window.poll():
            return


def _overlays(arguments: argparse.Namespace, note: str, stack: contextlib.ExitStack) -> tuple[list[Any], Any]:
    from dfer_edge.sinks.display import Overlay, VideoOverlay, Window

    found: list[Any] = []
    window = None
    if arguments.show:
        window = Window()
        stack.callback(window.close)
        found.append(Overlay(window.show, note=note))
    if arguments.video:
        found.append(VideoOverlay(arguments.video, note=note))
        stack.callback(found[-1].close)
    return found, window


def _sinks(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> list[ObservationSink]:
    found = list(_wanted(arguments))
    for sink in found:
        stack.callback(sink.close)
    return found


def _wanted(arguments: argparse.Namespace) -> Iterator[ObservationSink]:
    from dfer_edge.sinks import network, records

    if arguments.json:
        yield records.JsonLinesSink(sys.stdout if arguments.json == "-" else arguments.json)
    else:
        # A file that is read as fast as it goes has no moment of capture.
        files = all(Path(source).is_file() for source in arguments.source)
        yield records.TextSink(sys.stdout, len(arguments.source) > 1, arguments.realtime or not files)
    if arguments.csv:
        yield records.CsvSink(arguments.csv)
    if arguments.websocket is not None:
        yield network.WebSocketSink(arguments.websocket)
    if arguments.mqtt:
        yield network.MqttSink(arguments.mqtt)
    if arguments.osc:
        yield network.OscSink(arguments.osc)
