"""Fits and exports the landmark network in minutes: ``python -m dfer_edge.training.landmarks.fitted --help``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

from dfer_edge.training import stage
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.landmarks.fitted.export import save_onnx
from dfer_edge.training.landmarks.fitted.fit import Recipe, fit, of_pictures, of_renders
from dfer_edge.training.landmarks.fitted.start import net_of
from dfer_edge.training.landmarks.render import SHARD


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.landmarks.fitted", description=__doc__)
    parser.add_argument("--renders", type=Path, required=True, help="what dfer_edge.training.landmarks.render wrote")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures without people")
    parser.add_argument("--start", type=Path, required=True, help="ONNX file of face-api's 68-point network")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    stage.recipe_options(parser, Recipe)
    return stage.command(_make, parser.parse_args(arguments))


def _make(options: argparse.Namespace) -> None:
    recipe = stage.recipe_of(options, Recipe)
    net = net_of(options.start).eval()
    pictures = Pictures.read(options.pictures)
    grey = [*pictures.backgrounds, *(thing for thing, _ in pictures.things)]
    seen = of_renders(net, options.renders, recipe)
    facts = fit(net, seen, of_pictures(net, grey, recipe), recipe)
    provenance: dict[str, object] = {
        "data": {"synthetic": True, "images": len(list(options.renders.glob("shard-*.npz"))) * SHARD},
        "layers": {"of": "face-api, 68 points (MIT)", "sha256": hashlib.sha256(options.start.read_bytes()).hexdigest()},
        "recipe": dataclasses.asdict(recipe),
        "fit": facts,
    }
    save_onnx(net, options.out, provenance)
    print(json.dumps({"out": str(options.out), **provenance}))


if __name__ == "__main__":
    sys.exit(main())
