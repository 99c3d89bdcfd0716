"""``dfer-edge export``: a network to ONNX, simplified, ready for any engine."""

from __future__ import annotations

import argparse
from typing import Any

from dfer_edge.cli import console
from dfer_edge.engines import BEST_FORM
from dfer_edge.inference import FORMS, PARTS
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("export", parents=[common], help="write a network as ONNX", description=__doc__)
    parser.add_argument("model", choices=list_models())
    parser.add_argument("path", metavar="FILE.onnx")
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors file")
    parser.add_argument("--batch", type=int, help="fixed batch size (default: dynamic)")
    parser.add_argument("--part", default="whole", choices=PARTS, help="what a stream runs per step or per window")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--form", default="3d", choices=FORMS, help="how clip convolutions are written (default: %(default)s)"
    )
    form.add_argument("--engine", choices=BEST_FORM, help="take the form that this engine runs best")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export and say what was written."""
    from dfer_edge.export import export_onnx

    form = BEST_FORM[arguments.engine] if arguments.engine else arguments.form
    batch = arguments.batch if arguments.batch is not None else "dynamic"
    path = export_onnx(arguments.model, arguments.path, arguments.weights, batch, form, arguments.part)
    written = {"path": str(path), "model": arguments.model, "weights": arguments.weights, "form": form}
    written |= {"batch": batch, "part": arguments.part}
    if arguments.json:
        console.print_json(written)
    else:
        print(f"wrote {path}: {arguments.model}, weights {arguments.weights}, form {form}, batch {batch}")
    return 0
