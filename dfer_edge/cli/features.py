"""``dfer-edge features``: one vector a video or image, for search, clustering and classifiers of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import npz
from dfer_edge.cli.predict import add_recognizer_arguments, make_recognizer
from dfer_edge.errors import DferError, NoFaceFound, SourceNotFound

if TYPE_CHECKING:
    from dfer_edge.recognizer import Recognizer


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    text = "the file has embeddings [N, D] float32 and files [N], and says which network, weights and engine made them"
    parser = commands.add_parser(
        "features", parents=[common], help="a vector a video or image", description=f"{__doc__} {text}"
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="videos, images, folders of them")
    parser.add_argument("-o", "--out", type=npz, required=True, metavar="FILE.npz", help="a NumPy archive")
    parser.add_argument(
        "--faces", default="detect", choices=("detect", "cropped"), help="cropped: frames are face crops"
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    add_recognizer_arguments(parser)
    parser.set_defaults(run=run, signals=False, unknown_risk=None)


def run(arguments: argparse.Namespace) -> int:
    """Embed every source, write, and say what was passed over."""
    files = _files(arguments.sources)
    if not arguments.out.parent.is_dir():
        raise SourceNotFound(f"expected a folder to write into, found none at {arguments.out.parent}")
    recognizer = make_recognizer(arguments)
    found, skipped = _embedded(recognizer, files, arguments.faces)
    if not found:
        raise NoFaceFound(f"no vector of {len(files)} files; of the first: {next(iter(skipped.values()))}")
    _write(arguments.out, recognizer, found)
    report = {"files": len(found), "width": len(next(iter(found.values()))), "skipped": skipped}
    if arguments.json:
        console.print_json(report)
        return 0
    plural = "" if report["files"] == 1 else "s"
    print(f"{report['files']} vector{plural} of {report['width']} numbers in {arguments.out}")
    for name, reason in skipped.items():
        console.STDERR.print(f"skipped {name}: {reason}", soft_wrap=True)
    return 0


def _files(sources: list[Path]) -> list[Path]:
    from dfer_edge.sources.opening import is_media

    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            files += sorted(path for path in source.rglob("*") if is_media(path))
        elif source.is_file():
            files.append(source)
        else:
            raise SourceNotFound(f"expected videos, images or folders of them, found nothing at {source}")
    if not files:
        raise SourceNotFound(f"expected videos or images in {', '.join(map(str, sources))}, found none")
    return files


def _embedded(recognizer: Recognizer, files: list[Path], faces: Any) -> tuple[dict[str, Any], dict[str, str]]:
    found: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    with console.progress("features") as progress:
        for number, path in enumerate(files):
            try:
                found[str(path)] = recognizer.embed(path, faces)
            except DferError as error:
                skipped[str(path)] = error.message
            progress(number + 1, len(files))
    return found, skipped


def _write(out: Path, recognizer: Recognizer, found: dict[str, Any]) -> None:
    import numpy as np

    from dfer_edge.system.whole_files import replacing

    info = recognizer.info()
    with replacing(out) as partial, partial.open("wb") as file:
        np.savez(
            file,
            embeddings=np.stack(list(found.values())),
            files=np.asarray(list(found)),
            model=info["model"],
            weights=info["weights"]["name"],
            weights_sha256=info["weights"]["sha256"],
            engine=f"{info['engine']}/{info['precision']}",
        )
