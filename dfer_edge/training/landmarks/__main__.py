"""Trains and exports the network that follows faces: ``python -m dfer_edge.training.landmarks --help``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

from dfer_edge.training import stage
from dfer_edge.training.landmarks.export import save_onnx
from dfer_edge.training.landmarks.trainer import Recipe, Renders, Trainer


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    parser = stage.parser("python -m dfer_edge.training.landmarks", __doc__, Recipe, "face_check.onnx")
    parser.add_argument("--data", type=Path, required=True, help="what dfer_edge.training.landmarks.render wrote")
    return stage.command(_train, parser.parse_args(arguments))


def _train(options: argparse.Namespace) -> None:
    start = hashlib.sha256(options.start.read_bytes()).hexdigest() if options.start else ""
    recipe = stage.recipe_of(options, Recipe, start=start)
    trainer = Trainer(recipe, options.out)
    renders = Renders.read(options.data, recipe.images)
    if options.start and not trainer.step:
        trainer.start_from_file(options.start, renders)
    net = trainer.train(renders)
    data = {"synthetic": True, "images": len(renders.grey), "renders": "dfer_edge.training.landmarks.render"}
    provenance = {"data": data, "recipe": [*trainer.earlier, dataclasses.asdict(recipe)]}
    save_onnx(net, options.out / "face_check.onnx", provenance)
    print(json.dumps({"out": str(options.out / "face_check.onnx"), **provenance}))


if __name__ == "__main__":
    sys.exit(main())
