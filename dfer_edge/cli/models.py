"""``dfer-edge models``: list networks, fetch detector files, convert pickled checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.models import list_models, registry


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("models", parents=[common], help="list, fetch, convert", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="the networks")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)
    fetching = actions.add_parser("fetch", parents=[common], help="download a detector file (the only network access)")
    fetching.add_argument("name", choices=("yunet",))
    fetching.add_argument("--url", help="a mirror; the same sha256 is required (also: DFER_EDGE_YUNET_URL)")
    fetching.add_argument("--json", action="store_true")
    fetching.set_defaults(run=run_fetch)
    converting = actions.add_parser(
        "convert", parents=[common], help="a pickled state dict to a weights file (needs torch)"
    )
    converting.add_argument("checkpoint", type=Path)
    converting.add_argument("path", type=Path, metavar="OUT.safetensors")
    converting.add_argument("--model", required=True, choices=list_models())
    converting.add_argument("--json", action="store_true")
    converting.set_defaults(run=run_convert)


def run_list(arguments: argparse.Namespace) -> int:
    """Names, inputs and weights of the networks."""
    from dfer_edge.weights import shipped

    rows = [
        {
            "name": name,
            "input": list(registry.find(name).spec.input_shape),
            "classes": registry.find(name).spec.num_classes,
            "default_weights": shipped(name) is not None,
            "paper": registry.find(name).paper,
        }
        for name in list_models()
    ]
    if arguments.json:
        console.print_json(rows)
        return 0
    for row in rows:
        ships = "weights ship" if row["default_weights"] else "no weights ship yet"
        print(f"{row['name']:14} {row['input']!s:20} {row['classes']} classes  {ships:20} {row['paper']}")
    return 0


def run_fetch(arguments: argparse.Namespace) -> int:
    """Download, verify, say where it is."""
    from dfer_edge import downloads, settings

    with console.progress(f"fetch {arguments.name}") as progress:
        path = downloads.fetch(arguments.name, arguments.url or settings.yunet_address(), progress)
    file = downloads.FILES[arguments.name]
    if arguments.json:
        console.print_json({"name": file.name, "path": str(path), "sha256": file.sha256, "licence": file.licence})
    else:
        print(f"{path} ({file.licence}), sha256 verified")
    return 0


def run_convert(arguments: argparse.Namespace) -> int:
    """Load a pickled state dict without running code, write safetensors."""
    from dfer_edge.models import require_torch

    require_torch("converting a checkpoint")
    from dfer_edge.convert import convert

    report = convert(arguments.checkpoint, arguments.path, arguments.model)
    if arguments.json:
        written = {"path": str(arguments.path), "matched": len(report.matched), "missing": list(report.missing)}
        console.print_json({**written, "skipped": dict(report.skipped)})
    else:
        print(f"wrote {arguments.path}: {report}")
    return 0
