"""``dfer-edge prepare``: find the faces of data sets once and keep boxes and landmarks on disk, for training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import LANDMARKS_HELP
from dfer_edge.errors import InvalidInput

_SHOWN = 10


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "prepare", parents=[common], help="find the faces of data sets once", description=__doc__
    )
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME:PATH", help="as in train, with whole frames")
    parser.add_argument("--fold", type=int, default=1, help="of a data set that has several (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for train --prepared DIR (default: in the cache)")
    parser.add_argument("--detector", default="auto", help="face detector, as in predict")
    parser.add_argument("--landmarks", metavar="FILE", help=LANDMARKS_HELP)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Find what is not there yet; files that do not read are listed."""
    from dfer_edge.faces import FaceFinder, make_detector
    from dfer_edge.faces.landmarks import make_laying_detector
    from dfer_edge.faces.prepared import FaceStore, prepare

    paths = _paths(arguments.data, arguments.fold)
    landmarks = make_laying_detector(arguments.landmarks or "auto", threads=1)
    store = FaceStore(arguments.out, FaceFinder(make_detector(arguments.detector), landmarks))
    with console.progress("prepare") as bar:
        report = prepare(paths, store, lambda done: bar(done, len(paths)))
    content = {"folder": str(store.folder), "found": report.found, "reused": report.reused}
    if arguments.json:
        console.print_json(content | {"skipped": dict(report.skipped)})
        return 0
    print(f"{report.found} files found now, {report.reused} were there, {len(report.skipped)} skipped: {store.folder}")
    for path, reason in list(report.skipped.items())[:_SHOWN]:
        print(f"  {path}: {reason}")
    return 0


def _paths(data: Sequence[str], fold: int) -> list[Path]:
    from dfer_edge.training.data import open_named
    from dfer_edge.training.data.listing import ListedClips

    found: dict[Path, None] = {}
    for spec in data:
        for part in open_named(spec, fold):
            if not isinstance(part, ListedClips):
                raise InvalidInput(f"expected a data set of files, got {spec}: rendered shards need no faces found")
            found |= dict.fromkeys(entry.path for entry in part.entries)
    return list(found)
