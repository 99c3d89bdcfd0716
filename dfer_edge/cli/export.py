"""``dfer-edge export``: a network to ONNX, simplified, ready for any engine."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.engines import BEST_FORM
from dfer_edge.export.triton_repository import ACCELERATORS, Accelerator, write_repository
from dfer_edge.inference import FORMS, PARTS, Part
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("export", parents=[common], help="write a network as ONNX", description=__doc__)
    parser.add_argument("model", choices=list_models())
    parser.add_argument("path", metavar="FILE.onnx", nargs="?")
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors file")
    parser.add_argument("--batch", type=int, help="fixed batch size (default: dynamic)")
    parser.add_argument("--part", choices=PARTS, help="what a stream runs per step or per window")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--form", choices=FORMS, help="how clip convolutions are written (default: 3d)")
    form.add_argument("--engine", choices=BEST_FORM, help="take the form that this engine runs best")
    parser.add_argument("--int8", action="store_true", help="write Q/DQ int8, with ranges of dfer-edge calibrate")
    parser.add_argument("--ranges", metavar="FILE", help="for --int8 (default: those beside the weights)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    triton = parser.add_argument_group("NVIDIA Triton Inference Server", "a model repository instead of one file")
    triton.add_argument("--triton-repository", type=Path, metavar="DIR", help="add the network to this repository")
    triton.add_argument("--accelerator", choices=ACCELERATORS, help="of its onnxruntime backend (default: none)")
    triton.add_argument("--precision", choices=("fp32", "fp16"), help="fp16 with tensorrt (default: fp32)")
    triton.add_argument("--max-batch", type=int, help="clips that one call takes (default: 8)")
    triton.add_argument("--instances", type=int, help="copies that run at once (default: 1)")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Export and say what was written."""
    if (arguments.path is None) == (arguments.triton_repository is None):
        arguments.parser.error("expected one of FILE.onnx and --triton-repository DIR")
    if arguments.triton_repository is not None:
        return run_triton(arguments)
    for_triton = ("accelerator", "precision", "max_batch", "instances")
    _refuse(arguments, for_triton, "goes with --triton-repository only")
    if not arguments.int8:
        _refuse(arguments, ("ranges",), "goes with --int8 only")
    from dfer_edge.export.loading import PADDING, SCHEMES
    from dfer_edge.export.onnx_file import export_int8, export_onnx

    form = BEST_FORM[arguments.engine] if arguments.engine else arguments.form or "3d"
    part: Part = arguments.part or "whole"
    batch = arguments.batch if arguments.batch is not None else "dynamic"
    export = export_int8 if arguments.int8 else export_onnx
    extra: dict[str, Any] = {}
    if arguments.int8:
        scheme, pad_to = SCHEMES.get(arguments.engine, "symmetric"), PADDING.get(arguments.engine)
        extra = {"ranges": arguments.ranges, "scheme": scheme, "pad_to": pad_to}
    path = export(arguments.model, arguments.path, arguments.weights, batch, form, part, **extra)
    written = {"path": str(path), "model": arguments.model, "weights": arguments.weights, "form": form}
    written |= {"batch": batch, "part": part}
    written |= {"precision": "int8", "scheme": extra["scheme"]} if extra else {"precision": "fp32"}
    if arguments.json:
        console.print_json(written)
    else:
        what = f"weights {arguments.weights}, form {form}, batch {batch}, {written['precision']}"
        print(f"wrote {path}: {arguments.model}, {what}")
    return 0


def _refuse(arguments: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """A usage error for the first of these options that was given: nothing is ignored silently."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value is not False:
            arguments.parser.error(f"--{name.replace('_', '-')} {reason}")


def run_triton(arguments: argparse.Namespace) -> int:
    """Add a version of a network to a model repository."""
    from dfer_edge.weights.file import resolve

    _refuse(arguments, ("batch", "engine", "form", "int8", "part", "ranges"), "does not go with --triton-repository")
    accelerator: Accelerator = arguments.accelerator or "none"
    precision = arguments.precision or "fp32"
    version = write_repository(
        resolve(arguments.model, arguments.weights),
        arguments.triton_repository,
        accelerator,
        precision,
        8 if arguments.max_batch is None else arguments.max_batch,
        1 if arguments.instances is None else arguments.instances,
    )
    written = {"path": str(version), "model": arguments.model, "weights": arguments.weights}
    written |= {"accelerator": accelerator, "precision": precision}
    if arguments.json:
        console.print_json(written)
    else:
        print(f"wrote {version}: {arguments.model}, weights {arguments.weights}")
        print(f"serve it: tritonserver --model-repository={arguments.triton_repository}")
    return 0
