"""Renders heads, trains and exports the face detector: ``python -m dfer_edge.training.detector --heads DIR ...``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from dfer_edge.training import stage
from dfer_edge.training.detector import sprites
from dfer_edge.training.detector.export import lowered, save_onnx
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.trainer import Recipe, Trainer


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    parser = stage.parser("python -m dfer_edge.training.detector", __doc__, Recipe, "faces.onnx")
    parser.add_argument("--heads", type=Path, required=True, help="rendered heads; rendered there if --render is given")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--render", type=int, metavar="N", help="render N heads first (DFER_EDGE_FACE_MODEL)")
    parser.add_argument("--log-odds", type=float, default=0.6, help="taken off every score of the exported file")
    return stage.command(_train, parser.parse_args(arguments))


def _train(options: argparse.Namespace) -> None:
    if options.render:
        sprites.render(options.heads, options.render, seed=7)
    recipe = stage.recipe_of(options, Recipe)
    trainer = Trainer(recipe, options.out)
    if options.start and not trainer.step:
        trainer.start_from_checkpoint(options.start)
    heads, pictures = sprites.Sprites.read(options.heads), Pictures.read(options.pictures)
    net = trainer.train(heads, pictures)
    data = {"synthetic": True, "heads": len(heads.yaw), "pictures": len(pictures.backgrounds)}
    data["things"] = len(pictures.things)
    provenance = {"data": data, "recipe": [*trainer.earlier, dataclasses.asdict(recipe)], "log_odds": options.log_odds}
    save_onnx(lowered(net, options.log_odds), options.out / "faces.onnx", provenance)
    print(json.dumps({"out": str(options.out / "faces.onnx"), **provenance}))


if __name__ == "__main__":
    sys.exit(main())
