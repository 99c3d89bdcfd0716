"""The papers' efficiency claims: what is printed, what counting gives, what this machine measured, and a verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge.bench.claims.verdict import CLOSE, VERDICTS, best_row
from dfer_edge.bench.report.results import Results
from dfer_edge.bench.report.table import grid, number
from dfer_edge.errors import EngineUnavailable
from dfer_edge.inference import registry

SCHEMA = "dfer_edge.claims/1"


@dataclasses.dataclass(frozen=True)
class Checked:
    """A claim with its answers."""

    id: str
    paper: str
    statement: str
    printed: str
    computed: str
    measured: str
    verdict: str
    note: str


def check(results: Results | None = None) -> list[Checked]:
    """Every claim, in order.

    Raises
    ------
    EngineUnavailable
        Without torch, in which the printed networks are.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise EngineUnavailable(
            "counting the printed networks needs torch", 'pip install "dfer-edge[torch]"'
        ) from error
    from dfer_edge.bench.claims.table import CLAIMS

    rows = {name: row for name, row in results.rows.items() if row.ok} if results else {}
    found = []
    for claim in CLAIMS:
        answer, paper = claim.compute(), registry.find(claim.model).paper
        measured = claim.measure(rows) or "-"
        head = (claim.id, paper, claim.statement, claim.printed)
        found.append(Checked(*head, answer.text, measured, answer.verdict, answer.note))
    return found


def figures(results: Results | None) -> list[dict[str, Any]]:
    """Ours: parameters and MACs of each network, printed and simplified, and samples a second of either."""
    from dfer_edge.bench.claims import counting

    rows = {name: row for name, row in results.rows.items() if row.ok} if results else {}
    found = []
    for name in registry.list_models():
        (parameters, macs), (fewer, less) = counting.printed(name), counting.simplified(name)
        best = best_row(rows, name)
        eager = rows.get(f"network/{name}/torch-eager")
        found.append(
            {
                "network": name,
                "parameters": parameters,
                "parameters_simplified": fewer,
                "macs": macs,
                "macs_simplified": less,
                "printed_per_s": eager.samples_per_s if eager else None,
                "best_per_s": best.samples_per_s if best else None,
                "best_system": f"{best.config['engine']}/{best.config['precision']}" if best else "",
            }
        )
    return found


def document(found: Sequence[Checked], results: Results | None) -> dict[str, Any]:
    """JSON-safe."""
    provenance = results.provenance if results else {}
    claims = [dataclasses.asdict(claim) for claim in found]
    return {"schema": SCHEMA, "provenance": provenance, "claims": claims, "figures": figures(results)}


def markdown(found: Sequence[Checked], results: Results | None) -> str:
    """The page."""
    where = (
        f"Measured: {results.provenance['device']}, {results.provenance['date']}" if results else "Measured: nothing"
    )
    where += ", **a partial run**" if results and not results.complete else ""
    counts = {verdict: sum(claim.verdict == verdict for claim in found) for verdict in VERDICTS}
    heads = ("id", "claim", "printed", "computed", "measured", "verdict")
    rows = [[c.id, c.statement, c.printed, c.computed, c.measured, f"**{c.verdict}**"] for c in found]
    notes = [f"- {claim.id}: {claim.note}" for claim in found if claim.note]
    papers = dict.fromkeys(claim.paper for claim in found)
    letters = sorted({claim.id[0] for claim in found})
    sources = [f"- {letter}: {paper}" for letter, paper in zip(letters, papers, strict=True)]
    return (
        "\n\n".join(
            [
                "# The papers' efficiency claims",
                "Made by `dfer-edge bench claims`; do not edit. Computed is counted from the printed network, unless a "
                f"note says that it is from the printed figures. Reproduced: within {CLOSE:.0%} of the print, or equal "
                "in the digits that are printed, where a note says so. Speeds of other hardware cannot be reproduced "
                "and are not judged. Measured best systems are usable ones: int8 with ranges from noise is left out. "
                f"{where}.",
                ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + ".",
                grid(heads, rows),
                "Papers:\n\n" + "\n".join(sources),
                "Notes:\n\n" + "\n".join(notes),
                "## Our figures: printed network -> exact inference form\n\n" + _figures_table(results),
            ]
        )
        + "\n"
    )


def _figures_table(results: Results | None) -> str:
    rows = []
    for ours in figures(results):
        best = f"{number(ours['best_per_s'])} {ours['best_system']}".strip()
        rows.append(
            [
                f"`{ours['network']}`",
                f"{ours['parameters'] / 1e6:.3f} -> {ours['parameters_simplified'] / 1e6:.3f}",
                f"{ours['macs'] / 1e9:.3f} -> {ours['macs_simplified'] / 1e9:.3f}",
                f"{number(ours['printed_per_s'])} -> {best}",
            ]
        )
    heads = ("network", "parameters, M", "GMACs", "clips (images) a second, Hz: torch eager -> best")
    return grid(heads, rows)


def write(found: Sequence[Checked], folder: Path, results: Results | None) -> list[Path]:
    """``claims.json`` and ``claims.md`` in ``folder``."""
    paths = [folder / "claims.json", folder / "claims.md"]
    paths[0].write_text(json.dumps(document(found, results), indent=1) + "\n")
    paths[1].write_text(markdown(found, results))
    return paths
