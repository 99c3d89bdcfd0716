"""Argument types that argparse answers with exit code 2 and one line."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

from dfer_edge.engines import MAX_THREADS
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.flow.clips import SHORTEST_S

DEVICE_HELP = "auto is the CPU, also where there is a GPU; cuda for engine tensorrt (default: %(default)s)"
LANDMARKS_HELP = "landmark network (.onnx) or dlib's predictor (.dat), instead of the shipped network"
PREPARED_HELP = "keep the faces found in files there, as dfer-edge prepare does (default: find them each time)"


def seconds(text: str) -> float:
    """A positive number of seconds; ``inf`` is one window of all."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= SHORTEST_S:
        raise argparse.ArgumentTypeError(f"expected at least {SHORTEST_S} seconds, got {text!r}")
    return value


def threads(text: str) -> int:
    """A number of threads."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_THREADS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_THREADS} threads, got {text!r}")
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _at_least(1, text)


def rate(text: str) -> float:
    """A positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def assignment(text: str) -> tuple[str, str]:
    """``FIELD=VALUE`` as the two."""
    field, equals, value = text.partition("=")
    if not field or not equals:
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    return field, value


def add_changes(parser: argparse.ArgumentParser, help_text: str) -> None:
    """``--set FIELD=VALUE``, any number of times, as pairs in ``set``."""
    parser.add_argument("--set", action="append", default=[], type=assignment, metavar="FIELD=VALUE", help=help_text)


def _at_least(lowest: int, text: str) -> int:
    if not text.isdecimal() or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {lowest}, got {text!r}")
    return int(text)


def mp4(text: str) -> Path:
    """A path that ends in .mp4."""
    return _with_suffix(text, ".mp4")


def png(text: str) -> Path:
    """A path that ends in .png."""
    return _with_suffix(text, ".png")


def npz(text: str) -> Path:
    """A path that ends in .npz."""
    return _with_suffix(text, ".npz")


def _with_suffix(text: str, suffix: str) -> Path:
    if Path(text).suffix.lower() != suffix:
        raise argparse.ArgumentTypeError(f"expected a path that ends in {suffix}, got {text!r}")
    return Path(text)


def check_outputs(source: str, outputs: list[Path], plots: bool) -> None:
    """Before the work, not after it: every output can be written and none is the source or another output.

    Raises
    ------
    InvalidInput, EngineUnavailable
    """
    taken = {os.path.realpath(source): "the source"}
    for path in outputs:
        if not path.parent.is_dir():
            raise InvalidInput(f"expected a folder to write into, found none at {path.parent}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InvalidInput(f"expected a file that can be written, got {path}")
        if (real := os.path.realpath(path)) in taken:
            raise InvalidInput(f"expected a file of its own for each output, {path} is {taken[real]} already")
        taken[real] = "another output"
    if plots and importlib.util.find_spec("matplotlib") is None:
        raise EngineUnavailable("a plot needs matplotlib, which is not installed", 'pip install "dfer-edge[plots]"')
