"""``dfer-edge reproduce``: the tables of a source paper, all rows and folds; run it again to go on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dfer_edge.cli import arguments as types
from dfer_edge.cli import console
from dfer_edge.errors import InvalidInput
from dfer_edge.labels import DFEW
from dfer_edge.models import require_torch

# Clips that --rendered renders, a person each, and their frames and side; as many persons as every fold needs.
_RENDERED = (210, 16, 96)
_QUICK = (35, 4, 64)


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "reproduce", parents=[common], help="the tables of a source paper", description=__doc__
    )
    parser.add_argument("paper", choices=("000", "001", "002", "003", "004"))
    parser.add_argument(
        "--data", action="append", default=[], metavar="LAYOUT:FOLDER", help="e.g. dfew:/data/DFEW; repeat for more"
    )
    parser.add_argument(
        "--rendered", nargs="?", const="", metavar="FOLDER", help="renders in place of all data (FOLDER: from synth)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs and tables")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME", help="these rows only")
    parser.add_argument("--quick", action="store_true", help="one epoch on a few clips of two folds, small inputs")
    parser.add_argument("--small", action="store_true", help="small inputs, for machines without a GPU")
    parser.add_argument("--size", type=types.positive, default=0, help="side of the small inputs, in pixels")
    parser.add_argument("--frames", type=types.positive, default=0, help="frames of the small inputs")
    parser.add_argument("--folds", type=types.positive, default=0, help="at most as many (default: all)")
    parser.add_argument("--epochs", type=types.positive, default=0, help="of every stage, in place of the paper's")
    parser.add_argument("--batch", type=types.positive, default=0, help="clips a step, in place of the paper's")
    types.add_changes(parser, "a field of every row's recipe, as in train")
    parser.add_argument(
        "--init",
        default="",
        metavar="FILE",
        help="public backbone, or weights of ours (default: the shipped ones); without it from noise",
    )
    parser.add_argument("--detector", default="auto", help="face detector, as in predict (004 prints dlib)")
    parser.add_argument("--landmarks", default="auto", metavar="FILE", help="landmark network, as in predict")
    parser.add_argument("--seed", type=types.whole, default=0)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--threads", type=types.threads, help="CPU threads (default: all cores)")
    parser.add_argument("--workers", type=types.whole, default=0, help="processes that read clips")
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="do the runs on a Ray cluster (local: start one)")
    parser.add_argument("--json", action="store_true", help="print the document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run what is not done, and write the tables."""
    require_torch("reproducing a paper")
    import torch

    from dfer_edge import reproduce
    from dfer_edge.reproduce import report
    from dfer_edge.reproduce.papers import chosen_rows
    from dfer_edge.reproduce.spread import processes

    paper = reproduce.find_paper(arguments.paper)
    chosen_rows(paper, arguments.variant)  # before anything is rendered
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = arguments.device if arguments.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(processes()[2])
    job = reproduce.Job(
        paper,
        _data(arguments),
        arguments.out.resolve(),
        variants=arguments.variant,
        small=arguments.small,
        size=arguments.size,
        frames=arguments.frames,
        quick=arguments.quick,
        epochs=arguments.epochs,
        batch=arguments.batch,
        changes=tuple(arguments.set),
        most_folds=arguments.folds,
        init=arguments.init,
        seed=arguments.seed,
        device=device,
        precision=arguments.precision,
        workers=arguments.workers,
        detector=arguments.detector,
        landmarks=arguments.landmarks,
        ray=arguments.ray,
    )
    for name, address in reproduce.missing_starts(job).items():
        print(f"starts from noise, the paper from {name}: pass --init FILE, published at {address}", file=sys.stderr)
    with console.progress(f"paper {paper.number}") as bar:
        results = reproduce.run(job, lambda _, done, total: bar(done, total))
    if processes()[0]:
        return 0  # the first process has all results, and writes the tables
    written = report.write(job, results)
    content = report.document(job, results)
    if arguments.json:
        console.print_json(content)
    else:
        print(report.markdown(content))
        print(f"wrote {', '.join(str(path) for path in written)}")
    return 0


def _data(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.rendered is not None and arguments.data:
        raise InvalidInput("expected --data or --rendered, got both")
    if arguments.rendered is not None:
        folder = Path(arguments.rendered) if arguments.rendered else _render(arguments.out / "renders", arguments)
        return {"*": f"shards:{folder.expanduser().resolve()}"}
    found: dict[str, str] = {}
    for text in arguments.data:
        name, colon, folder = text.partition(":")
        if not colon or not folder:
            raise InvalidInput(f"expected --data LAYOUT:FOLDER, got {text!r}")
        found[name] = f"{name}:{Path(folder).expanduser().resolve()}"
    return found


def _render(folder: Path, arguments: argparse.Namespace) -> Path:
    """Clips of as many people, or what is there of them already."""
    from dfer_edge.synthesis import SyntheticClips
    from dfer_edge.synthesis.storage import write_clips

    count, frames, size = _QUICK if arguments.quick else _RENDERED
    clips = SyntheticClips(count, seed=arguments.seed, frames=frames, size=size, workers=1, classes=DFEW)
    with console.progress("rendering") as bar:
        write_clips(clips, folder, bar)
    return folder
