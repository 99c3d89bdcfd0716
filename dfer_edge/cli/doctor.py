"""``dfer-edge doctor``: what is installed, what this machine can do, and why not."""

from __future__ import annotations

import argparse
from typing import Any

from dfer_edge.cli import console


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("doctor", parents=[common], help="what works here, and why not", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report."""
    from dfer_edge.doctor import report

    found = report()
    if arguments.json:
        console.print_json(found)
        return 0
    for section, entries in found.items():
        print(section)
        for name, value in entries.items():
            print(f"  {name:22} {value}")
    return 0
