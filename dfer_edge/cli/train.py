"""``dfer-edge train``: a network on a data set, by a recipe; run it again to go on where it was stopped."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfer_edge import labels
from dfer_edge.cli import arguments as types
from dfer_edge.cli import console
from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.models import list_models, require_torch
from dfer_edge.system import cpu

if TYPE_CHECKING:
    from dfer_edge.spec import ModelSpec
    from dfer_edge.training.data import Split
    from dfer_edge.training.data.faces import FaceCropper
    from dfer_edge.training.recipes import Recipe

_LABEL_SETS = {"dfew": labels.DFEW, "afew": labels.AFEW, "ck+": labels.CK_PLUS, "mafw": labels.MAFW}
# Seconds between lines about the progress where there is no terminal for a bar.
_QUIET_S = 60.0


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("train", parents=[common], help="train a network", description=__doc__)
    parser.add_argument("model", choices=list_models())
    _add_data(parser)
    _add_recipe(parser)
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def _add_data(parser: argparse.ArgumentParser) -> None:
    """What it learns from."""
    parser.add_argument(
        "--data", action="append", metavar="NAME:PATH", help="training data, e.g. dfew:/data/DFEW; repeat to join"
    )
    parser.add_argument(
        "--val",
        action="append",
        default=[],
        metavar="NAME:PATH",
        help="validation data (default: the data's own split)",
    )
    parser.add_argument(
        "--fold", type=types.positive, default=1, help="fold of the official split (default: %(default)s)"
    )
    parser.add_argument(
        "--labels", help=f"classes: {', '.join(_LABEL_SETS)}, or names with commas (default: the data's)"
    )
    parser.add_argument(
        "--faces",
        default="auto",
        choices=("auto", "cropped"),
        help="cropped: frames are face crops (auto: detect where the layout holds whole frames)",
    )
    parser.add_argument("--detector", default="auto", help="face detector, as in predict")
    parser.add_argument("--landmarks", help="landmark network, as in predict")
    parser.add_argument(
        "--prepared", metavar="DIR", help="keep found faces there, as dfer-edge prepare does (default: in the cache)"
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """How it learns, and from where."""
    parser.add_argument(
        "--recipe",
        help="paper, renders, finetune, or a .json file (default: finetune with --init default, else paper)",
    )
    parser.add_argument("--epochs", type=types.positive, help="of every stage of the recipe")
    parser.add_argument("--batch", type=types.positive, help="clips a step, of every stage")
    parser.add_argument("--lr", type=types.rate, help="peak learning rate of every stage")
    types.add_changes(parser, "override a field of the recipe, e.g. stages.0.epochs=5")
    parser.add_argument("--show-recipe", action="store_true", help="print the recipe as JSON and stop")
    parser.add_argument("--init", metavar="FILE", help="start from: default (shipped), ours, or a public .safetensors")


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Where it runs and what it keeps."""
    parser.add_argument("--out", type=Path, help="folder for checkpoint, logs and weights")
    parser.add_argument("--seed", type=types.whole, default=0)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="auto: bf16 where it is fast"
    )
    parser.add_argument(
        "--form", default="auto", choices=("auto", "2d", "3d"), help="how 3-D layers run (auto: 2d on a CPU)"
    )
    parser.add_argument("--threads", type=types.threads, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--workers", type=types.whole, default=1, help="processes that read clips (default: %(default)s)"
    )
    parser.add_argument(
        "--accumulate", type=types.positive, default=1, help="parts a batch is cut into, to save memory"
    )
    parser.add_argument(
        "--save-every", type=types.seconds, default=300.0, metavar="S", help="seconds between checkpoints"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    require_torch("training")
    recipe = _recipe(arguments)
    if arguments.show_recipe:
        print(recipe.to_json())
        return 0
    if not arguments.data or arguments.out is None:
        raise InvalidInput(
            "expected --data NAME:PATH and --out FOLDER", "dfer-edge train slowr50_sa --data dfew:/data/DFEW --out run"
        )
    result = _train(arguments, recipe)
    if result is None:
        return 0
    if arguments.json:
        console.print_json(result)
    else:
        best = result["best"]
        where = f"epoch {best['epoch']} of stage {best['stage']}"
        print(f"wrote {result['weights']['best']}: UAR {best['val_uar']:.3f}, WAR {best['val_war']:.3f}, {where}")
        if result["skipped_clips"]:
            print(
                f"skipped {result['skipped_clips']} clips that do not read, listed in {arguments.out / 'skipped.csv'}"
            )
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from dfer_edge.training import find_recipe
    from dfer_edge.training.recipes import from_json

    name = arguments.recipe or ("finetune" if arguments.init == "default" else "paper")
    if name.endswith(".json") and not Path(name).is_file():
        raise SourceNotFound(f"expected a recipe, found no file {name}", "--show-recipe prints one to begin with")
    recipe = from_json(Path(name).read_text()) if name.endswith(".json") else find_recipe(name, arguments.model)
    plain = {"epochs": arguments.epochs, "batch": arguments.batch, "optimiser.lr": arguments.lr}
    for field, value in plain.items():
        if value is not None:
            recipe = recipe.override(f"stages.{field}", json.dumps(value))
    for field, value in arguments.set:
        recipe = recipe.override(field, value)
    return recipe


def _train(arguments: argparse.Namespace, recipe: Recipe) -> dict[str, Any] | None:
    import torch

    from dfer_edge.training import distributed
    from dfer_edge.training.data import open_split
    from dfer_edge.training.data.samples import without_lost
    from dfer_edge.training.memory import freed_memory_kept
    from dfer_edge.training.network import trained_spec
    from dfer_edge.training.trainer import Settings, Trainer

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = trained_spec(arguments.model, arguments.init) if arguments.init else None
    names, cropper = _labels(arguments.labels), _cropper(arguments, recipe, base)
    known = base.labels if base else ()
    split = open_split(arguments.data, arguments.val, arguments.fold, names, arguments.seed, cropper, known)
    if recipe.drop_lost:
        split = dataclasses.replace(split, train=without_lost(split.train))
    _tell_start(arguments, recipe, split)
    device = arguments.device if arguments.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    settings = Settings(
        out=arguments.out,
        seed=arguments.seed,
        device=device,
        precision=_precision(arguments.precision, device),
        fold=None if arguments.form == "auto" else arguments.form == "2d",
        workers=arguments.workers,
        accumulate=arguments.accumulate,
        save_every_s=arguments.save_every,
        data_name=split.name,
    )
    memory = freed_memory_kept() if device == "cpu" else contextlib.nullcontext()
    with memory, distributed.processes(device) as (rank, world, where), console.progress("train") as bar:
        network = _network(arguments, recipe, split, base)
        report = _reporter(bar) if rank == 0 else None
        result = Trainer(network, split.train, split.val, recipe, settings, report, rank, world, where).run()
    return result if rank == 0 else None


def _tell_start(arguments: argparse.Namespace, recipe: Recipe, split: Split) -> None:
    """What nobody should find out after days: a start from noise, and classes that nothing will be learnt of."""
    if not arguments.init and recipe.pretrained:
        print(f"starts from noise, the paper from {recipe.pretrained}: pass it with --init FILE", file=sys.stderr)
    counts = np.bincount(split.train.targets, minlength=len(split.labels))
    if empty := [name for name, count in zip(split.labels, counts, strict=True) if not count]:
        print(f"no training clips of {', '.join(empty)}: kept from --init; --labels leaves them out", file=sys.stderr)


def _network(arguments: argparse.Namespace, recipe: Recipe, split: Split, base: ModelSpec | None) -> Any:
    from dfer_edge.training.network import build_network, start_from
    from dfer_edge.training.trainer import seed_everything

    seed_everything((arguments.seed,))
    network = build_network(arguments.model, recipe, split.labels, base)
    if arguments.init:
        print(f"--init: {start_from(network, arguments.init)}", file=sys.stderr)
    return network


def _cropper(arguments: argparse.Namespace, recipe: Recipe, base: ModelSpec | None) -> FaceCropper:
    """What finds faces in whole frames: for the crops of inference."""
    from dfer_edge.faces import for_network
    from dfer_edge.faces.landmarks import CHOICES, make_laying_detector
    from dfer_edge.faces.prepared import FaceStore
    from dfer_edge.inference import registry
    from dfer_edge.training.data.faces import FaceCropper

    spec = recipe.crops(base or registry.find(arguments.model).spec, trained=base is not None)
    detector, marks = None, arguments.landmarks or "auto"
    if arguments.faces == "cropped":
        wanted = spec.landmarks or spec.face_box == "landmarks"
        landmarks = make_laying_detector(marks, threads=1) if wanted else None
    else:
        detector, landmarks = for_network(spec, arguments.detector, marks, threads=1)
    rendered = all(data.startswith("shards:") for data in arguments.data)
    if spec.landmarks and landmarks is None and not rendered:
        raise InvalidInput(f"expected landmarks for {spec.name}, the data have none", CHOICES)
    if arguments.prepared and detector is None:
        raise InvalidInput("expected whole frames for --prepared, --faces cropped says that frames are crops")
    store = None if detector is None else FaceStore(arguments.prepared, detector)
    return FaceCropper(spec, detector, landmarks, store)


def _labels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return _LABEL_SETS.get(text.lower()) or tuple(name.strip() for name in text.split(","))


def _precision(wanted: str, device: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    if device == "cuda":
        # PyTorch counts emulation, which a card before Ampere runs slower than fp32.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without the instructions bf16 is emulated, slower than fp32.
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() and cpu.has_bf16() else "fp32"


def _reporter(bar: Any) -> Any:
    last_s = [0.0]

    def report(done: int, total: int, line: str) -> None:
        bar(done, total)
        if not sys.stderr.isatty() and time.monotonic() - last_s[0] > _QUIET_S:
            last_s[0] = time.monotonic()
            print(f"{done}/{total} clips, {line}", file=sys.stderr, flush=True)

    return report
