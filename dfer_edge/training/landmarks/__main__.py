"""Trains and exports the landmark network: ``python -m dfer_edge.training.landmarks --data DIR --out DIR``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import sys
from pathlib import Path

import cv2
import torch

from dfer_edge.errors import DferError
from dfer_edge.training.landmarks.export import save_onnx
from dfer_edge.training.landmarks.trainer import Recipe, Renders, Trainer


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.landmarks", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what dfer_edge.training.landmarks.render wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and landmarks68.onnx")
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier stage, or an exported file, to start from")
    parser.add_argument("--threads", type=int, default=1)
    for field in dataclasses.fields(Recipe):
        if field.name != "start":
            kind = type(field.default)
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    options = _arguments().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    try:
        _train(options)
    except DferError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _train(options: argparse.Namespace) -> None:
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe) if field.name != "start"}
    start = hashlib.sha256(options.start.read_bytes()).hexdigest() if options.start else ""
    recipe = Recipe(**values, start=start)
    trainer = Trainer(recipe, options.out)
    renders = Renders.read(options.data, recipe.images)
    if options.start and not trainer.step:
        trainer.start_from(options.start, renders)
    net = trainer.run(renders)
    data = {"synthetic": True, "images": len(renders.grey), "renders": "dfer_edge.training.landmarks.render"}
    provenance = {"data": data, "recipe": [*trainer.earlier, dataclasses.asdict(recipe)]}
    save_onnx(net, options.out / "landmarks68.onnx", provenance)
    print(json.dumps({"out": str(options.out / "landmarks68.onnx"), **provenance}))


if __name__ == "__main__":
    sys.exit(main())
