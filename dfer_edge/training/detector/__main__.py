"""Renders heads, trains and exports the face detector: ``python -m dfer_edge.training.detector --heads DIR ...``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path

import cv2
import torch

from dfer_edge.errors import DferError
from dfer_edge.training.detector import sprites
from dfer_edge.training.detector.export import save_onnx
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.trainer import Recipe, Trainer


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.detector", description=__doc__)
    parser.add_argument("--heads", type=Path, required=True, help="rendered heads; rendered there if --render is given")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and faces.onnx")
    parser.add_argument("--render", type=int, metavar="N", help="render N heads first (DFER_EDGE_FACE_MODEL)")
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier stage to start from")
    parser.add_argument("--threads", type=int, default=1)
    for field in dataclasses.fields(Recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    options = _arguments().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    try:
        if options.render:
            sprites.render(options.heads, options.render, seed=7)
        _train(options)
    except DferError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _train(options: argparse.Namespace) -> None:
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe)})
    trainer = Trainer(recipe, options.out)
    if options.start and not trainer.step:
        trainer.start_from(options.start)
    heads, pictures = sprites.Sprites.read(options.heads), Pictures.read(options.pictures)
    net = trainer.run(heads, pictures)
    data = {"synthetic": True, "heads": len(heads.yaw), "pictures": len(pictures.backgrounds)}
    provenance = {"data": data, "recipe": [*trainer.earlier, dataclasses.asdict(recipe)]}
    save_onnx(net, options.out / "faces.onnx", provenance)
    print(json.dumps({"out": str(options.out / "faces.onnx"), **provenance}))


if __name__ == "__main__":
    sys.exit(main())
