"""``dfer-edge cache``: what is kept on disk, whether it is whole, and how to get rid of it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from dfer_edge.cache import store as cache
from dfer_edge.cli import console
from dfer_edge.system import settings


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("cache", parents=[common], help="exported networks and engines", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, run, purpose in (
        ("ls", run_ls, "what is there"),
        ("verify", run_verify, "hash every file; code 1 if anything is damaged or foreign"),
        ("clear", run_clear, "remove entries; they are built again when needed (fetched models stay)"),
    ):
        action = actions.add_parser(name, parents=[common], help=purpose, description=purpose)
        action.add_argument("--kind", choices=cache.KINDS, help="only these (default: all)")
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=run)


def run_ls(arguments: argparse.Namespace) -> int:
    """List the entries."""
    found = cache.entries(arguments.kind)
    rows = [_row(entry) for entry in found]
    if arguments.json:
        console.print_json({"folder": str(settings.cache_folder()), "entries": rows})
        return 0
    _print(["kind", "name", "size", "created"], [[e.kind, e.name, _size(e.bytes), e.created] for e in found])
    print(f"{len(found)} entries, {_size(sum(entry.bytes for entry in found))} in {settings.cache_folder()}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Hash all files of all entries."""
    found = cache.entries(arguments.kind)
    problems = []
    with console.progress("verify") as progress:
        for done, entry in enumerate(found, 1):
            problems.append(entry.problem())
            progress(done, len(found))
    if arguments.json:
        rows = [_row(entry) | {"problem": problem} for entry, problem in zip(found, problems, strict=True)]
        console.print_json({"folder": str(settings.cache_folder()), "entries": rows})
    else:
        rows_text = [[e.kind, e.name, problem or "ok"] for e, problem in zip(found, problems, strict=True)]
        _print(["kind", "name", "state"], rows_text)
        bad = sum(map(bool, problems))
        print(f"{len(found)} entries, {bad} that will not be used" + (": they are rebuilt when needed" if bad else ""))
    return 1 if any(problems) else 0


def run_clear(arguments: argparse.Namespace) -> int:
    """Remove entries."""
    removed, busy = cache.clear(arguments.kind)
    if arguments.json:
        console.print_json({"removed": [_row(e) for e in removed], "in_use": [_row(e) for e in busy]})
    else:
        print(f"removed {len(removed)} entries, {_size(sum(entry.bytes for entry in removed))}")
        for entry in busy:
            print(f"kept {entry.kind} {entry.name}: a process is building it")
    return 1 if busy else 0


def _row(entry: cache.Entry) -> dict[str, Any]:
    return dataclasses.asdict(entry) | {"path": str(entry.path)}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.STDOUT.print(table, soft_wrap=True)
