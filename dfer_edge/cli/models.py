"""``dfer-edge models``: list networks, fetch detector files, convert weights, write model cards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfer_edge.cli import console
from dfer_edge.inference import registry
from dfer_edge.models import list_models


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("models", parents=[common], help="list, fetch, convert, card", description=__doc__)
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
        "convert", parents=[common], help="a checkpoint of others (needs torch) or a weights file to a weights file"
    )
    converting.add_argument("checkpoint", type=Path)
    converting.add_argument("path", type=Path, metavar="OUT.safetensors")
    converting.add_argument("--model", required=True, choices=list_models())
    converting.add_argument(
        "--like",
        metavar="WEIGHTS",
        help="default or a file: whose crops, size and classes the checkpoint has",
    )
    converting.add_argument("--compact", action="store_true", help="store large tensors in int8: a quarter of the size")
    converting.add_argument("--json", action="store_true")
    converting.set_defaults(run=run_convert)
    carding = actions.add_parser("card", parents=[common], help="write a model card from the JSON files beside it")
    carding.add_argument("folder", type=Path, help="has NAME.training.json and NAME.evaluation*.json; gets NAME.md")
    carding.add_argument("name", metavar="NAME")
    carding.add_argument("--json", action="store_true")
    carding.set_defaults(run=run_card)


def run_list(arguments: argparse.Namespace) -> int:
    """Names, inputs and weights of the networks."""
    from dfer_edge.weights.file import load, shipped

    rows = []
    for name in list_models():
        entry, file = registry.find(name), shipped(name)
        rows.append(
            {
                "name": name,
                "input": list(entry.spec.input_shape),
                "classes": entry.spec.num_classes,
                "default_weights": file is not None,
                # They may see fewer pixels than the paper's network.
                "default_weights_input": list(load(file).spec.input_shape) if file else None,
                "paper": entry.paper,
            }
        )
    if arguments.json:
        console.print_json(rows)
        return 0
    for row in rows:
        ships = f"weights ship, of {row['default_weights_input']}" if row["default_weights"] else "no weights ship yet"
        print(f"{row['name']:14} {row['input']!s:20} {row['classes']} classes  {ships:37} {row['paper']}")
    return 0


def run_fetch(arguments: argparse.Namespace) -> int:
    """Download, verify, say where it is."""
    from dfer_edge.cache import downloads
    from dfer_edge.system import settings

    with console.progress(f"fetch {arguments.name}") as progress:
        path = downloads.fetch(arguments.name, arguments.url or settings.yunet_address(), progress)
    file = downloads.FILES[arguments.name]
    if arguments.json:
        console.print_json({"name": file.name, "path": str(path), "sha256": file.sha256, "licence": file.licence})
    else:
        print(f"{path} ({file.licence}), sha256 verified")
    return 0


def run_convert(arguments: argparse.Namespace) -> int:
    """Load a checkpoint without running code, or a weights file, and write a weights file."""
    if arguments.checkpoint.suffix == ".safetensors" and _is_ours(arguments.checkpoint):
        return _rewrite(arguments)
    from dfer_edge.models import require_torch

    require_torch("converting a checkpoint")
    from dfer_edge.weights.convert import convert

    report = convert(arguments.checkpoint, arguments.path, arguments.model, arguments.compact, arguments.like)
    if arguments.json:
        written = {"path": str(arguments.path), "matched": len(report.matched), "missing": list(report.missing)}
        console.print_json({**written, "skipped": dict(report.skipped)})
    else:
        print(f"wrote {arguments.path}: {report}")
    return 0


def _is_ours(path: Path) -> bool:
    """Whether a safetensors file has our metadata; one that does not read counts as ours, whose reader says why."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return "format" in (file.metadata() or {}) and "spec" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, TypeError):
        return True


def _rewrite(arguments: argparse.Namespace) -> int:
    """From full to compact form or back: no torch."""
    from dfer_edge.weights import file as weights

    loaded = weights.resolve(arguments.model, arguments.checkpoint)
    path = weights.write(arguments.path, loaded, arguments.compact)
    before, after = (file.stat().st_size / 1e6 for file in (arguments.checkpoint, path))
    if arguments.json:
        console.print_json({"path": str(path), "compact": arguments.compact, "mb": after, "mb_before": before})
    else:
        print(f"wrote {path}: {after:.1f} MB, from {before:.1f} MB")
    return 0


def run_card(arguments: argparse.Namespace) -> int:
    """Make the card from the committed figures."""
    from dfer_edge.evaluation.card import from_folder
    from dfer_edge.system.whole_files import write_text

    path = arguments.folder / f"{arguments.name}.md"
    write_text(path, from_folder(arguments.folder, arguments.name))
    if arguments.json:
        console.print_json({"path": str(path)})
    else:
        print(f"wrote {path}")
    return 0
