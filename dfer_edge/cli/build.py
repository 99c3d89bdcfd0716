"""``dfer-edge build``: make a network ready on this device, so that the first prediction does not wait for it.

Exports, quantises where there are ranges, builds what the engine needs, measures where there is a choice, and keeps all
of it in the cache. Says what was taken and why the others were not, and writes no report: ``--json`` prints it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.cli.arguments import DEVICE_HELP, threads
from dfer_edge.engines import ENGINES, PRECISIONS
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("build", parents=[common], help="make a network ready here", description=__doc__)
    parser.add_argument("model", choices=list_models())
    parser.add_argument("--weights", default="default", help="default, random, or a .safetensors file")
    parser.add_argument("--engine", default="auto", choices=("auto", *ENGINES))
    parser.add_argument("--precision", default="auto", choices=("auto", *PRECISIONS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help=DEVICE_HELP)
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="ranges for int8 (default: beside the weights)"
    )
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build, time one sample, say what came of it."""
    from dfer_edge.engines.planner import latency_ms
    from dfer_edge.export.loading import Request, load, load_parts

    request = Request(
        arguments.model,
        arguments.weights,
        arguments.engine,
        arguments.precision,
        arguments.device,
        arguments.threads,
        arguments.calibration,
    )
    loaded = load(request)
    with loaded.engine as engine:
        # What a stream loads beside it: an engine of TensorRT is built for minutes.
        parts = load_parts(request, engine)
        for part in parts or ():
            part.close()
        built: dict[str, Any] = {
            "model": engine.spec.name,
            "weights": engine.metadata["dfer_edge.weights"],
            **engine.info(),
            "conv_form": engine.metadata.get("dfer_edge.form", ""),
            "file": str(engine.path),
            "stream": "by steps" if parts else "by whole windows",
            "latency_ms": round(latency_ms(engine), 3),
            "not_taken": dict(loaded.lost),
        }
    if arguments.json:
        console.print_json(built)
        return 0
    print(
        f"{built['model']}, weights {built['weights']}: {built['engine']}, {built['precision']} on {built['device']}, "
        f"{built['latency_ms']:.1f} ms a sample with {built['threads']} threads"
    )
    for name, reason in loaded.lost.items():
        print(f"  not {name}: {reason}")
    print(f"built from {built['file']}")
    return 0
