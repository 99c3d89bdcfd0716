"""Entry point of ``dfer-edge``: arguments in, exit code out. 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from dfer_edge._version import __version__
from dfer_edge.cli import (
    bench,
    build,
    cache,
    calibrate,
    console,
    doctor,
    evaluate,
    export,
    features,
    label,
    live,
    models,
    predict,
    prepare,
    reproduce,
    serve,
    synth,
    train,
)
from dfer_edge.errors import DferError

_COMMANDS = (
    predict,
    live,
    serve,
    label,
    features,
    export,
    calibrate,
    build,
    synth,
    prepare,
    train,
    evaluate,
    reproduce,
    bench,
    models,
    cache,
    doctor,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(prog="dfer-edge", description="Facial expressions over time, at the edge.")
    root.add_argument("--version", action="version", version=f"dfer-edge {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks and log what is chosen and why")
    commands = root.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands, common)
    _plain(root)
    return root


def _plain(parser: argparse.ArgumentParser) -> None:
    """Descriptions come from docstrings, whose marks are none of a terminal's."""
    parser.description = parser.description and parser.description.replace("``", "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _plain(inner)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv
        Without the program name; ``sys.argv[1:]`` if None.

    Returns
    -------
    The exit code.
    """
    # The decoder writes its own complaints to stderr; ours name the file and the way out.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files may hold what the terminal's encoding has not.
            stream.reconfigure(errors="backslashreplace")
    root = parser()
    arguments = root.parse_args(argv)
    if not hasattr(arguments, "run"):
        root.print_help(sys.stderr)
        return 2
    if threading.current_thread() is threading.main_thread():
        # Ends as an exception does: files that are not whole yet are taken away.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    logging.basicConfig(level=logging.INFO if arguments.debug else logging.WARNING, format="%(name)s: %(message)s")
    try:
        with console.build_bar():
            code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        print("dfer-edge: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DferError as error:
        if arguments.debug:
            raise
        print(f"dfer-edge: {_one_line(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {_one_line(error.hint)}", file=sys.stderr)
        return 1
    except OSError as error:
        if arguments.debug:
            raise
        reason = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
        print(f"dfer-edge: {_one_line(reason)}", file=sys.stderr)
        return 1


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
