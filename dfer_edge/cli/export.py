"""``dfer-edge export``: a network to ONNX, simplified, ready for any engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.engines import BEST_FORM
from dfer_edge.inference import FORMS, PARTS
from dfer_edge.models import list_models
from dfer_edge.triton_repository import ACCELERATORS, write_repository


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("export", parents=[common], help="write a network as ONNX", description=__doc__)
    parser.add_argument("model", choices=list_models())
    parser.add_argument("path", metavar="FILE.onnx", nargs="?")
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors file")
    parser.add_argument("--batch", type=int, help="fixed batch size (default: dynamic)")
    parser.add_argument("--part", default="whole", choices=PARTS, help="what a stream runs per step or per window")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--form", default="3d", choices=FORMS, help="how clip convolutions are written (default: %(default)s)"
    )
    form.add_argument("--engine", choices=BEST_FORM, help="take the form that this engine runs best")
    parser.add_argument("--int8", action="store_true", help="write Q/DQ int8, with ranges of dfer-edge calibrate")
    parser.add_argument("--ranges", metavar="FILE", help="for --int8 (default: those beside the weights)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    triton = parser.add_argument_group("NVIDIA Triton Inference Server", "a model repository instead of one file")
    triton.add_argument("--triton-repository", type=Path, metavar="DIR", help="add the network to this repository")
    triton.add_argument(
        "--accelerator", default="none", choices=ACCELERATORS, help="of its onnxruntime backend (default: %(default)s)"
    )
    triton.add_argument("--precision", default="fp32", choices=("fp32", "fp16"), help="with tensorrt")
    triton.add_argument("--max-batch", type=int, default=8, help="clips that one call takes (default: %(default)s)")
    triton.add_argument("--instances", type=int, default=1, help="copies that run at once (default: %(default)s)")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Export and say what was written."""
    if (arguments.path is None) == (arguments.triton_repository is None):
        arguments.parser.error("expected one of FILE.onnx and --triton-repository DIR")
    if arguments.triton_repository is not None:
        return run_triton(arguments)
    from dfer_edge.export import export_int8, export_onnx
    from dfer_edge.loading import PADDING, SCHEMES

    form = BEST_FORM[arguments.engine] if arguments.engine else arguments.form
    batch = arguments.batch if arguments.batch is not None else "dynamic"
    export = export_int8 if arguments.int8 else export_onnx
    extra: dict[str, Any] = {}
    if arguments.int8:
        scheme, pad_to = SCHEMES.get(arguments.engine, "symmetric"), PADDING.get(arguments.engine)
        extra = {"ranges": arguments.ranges, "scheme": scheme, "pad_to": pad_to}
    path = export(arguments.model, arguments.path, arguments.weights, batch, form, arguments.part, **extra)
    written = {"path": str(path), "model": arguments.model, "weights": arguments.weights, "form": form}
    written |= {"batch": batch, "part": arguments.part}
    written |= {"precision": "int8", "scheme": extra["scheme"]} if extra else {"precision": "fp32"}
    if arguments.json:
        console.print_json(written)
    else:
        what = f"weights {arguments.weights}, form {form}, batch {batch}, {written['precision']}"
        print(f"wrote {path}: {arguments.model}, {what}")
    return 0


def run_triton(arguments: argparse.Namespace) -> int:
    """Add a version of a network to a model repository."""
    from dfer_edge.weights import resolve

    given = {"--batch": arguments.batch is not None, "--part": arguments.part != "whole", "--engine": arguments.engine}
    given |= {"--int8": arguments.int8}
    if wrong := [name for name, there in given.items() if there]:
        arguments.parser.error(f"{wrong[0]} does not go with --triton-repository")
    version = write_repository(
        resolve(arguments.model, arguments.weights),
        arguments.triton_repository,
        arguments.accelerator,
        arguments.precision,
        arguments.max_batch,
        arguments.instances,
    )
    written = {"path": str(version), "model": arguments.model, "weights": arguments.weights}
    written |= {"accelerator": arguments.accelerator, "precision": arguments.precision}
    if arguments.json:
        console.print_json(written)
    else:
        print(f"wrote {version}: {arguments.model}, weights {arguments.weights}")
        print(f"serve it: tritonserver --model-repository={arguments.triton_repository}")
    return 0
