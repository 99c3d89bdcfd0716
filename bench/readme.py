"""The README's speed table, from the committed results. `python -m bench.readme` writes it; a test checks it.

A row a network: the fastest engine and precision, as a ratio to torch eager fp32 of the printed network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
BASE = "torch eager fp32, printed network"


def rows(path: Path) -> list[str]:
    """The table row of one results file; none for results of another kind."""
    result: dict[str, Any] = json.loads(path.read_text())
    if "speed" not in result:
        return []
    provenance, speed = result["provenance"], result["speed"]
    ratios = {key: values["ratio_p50"] for key, values in speed.items() if key != BASE}
    fp32 = min((key for key in ratios if key.endswith("fp32")), key=lambda key: ratios[key])
    best = min(ratios, key=lambda key: ratios[key])
    agreement = {row["second"]: row["top1_agreement"] for row in result["parity_against_torch_fp32"]}
    shared = f"{agreement.get(best, 1.0):.1%} of {result['parity_against_torch_fp32'][0]['samples']}"
    cells = (
        f"`{provenance['model']}`",
        f"{speed[BASE]['p50_ms']:.0f}",
        f"{ratios[fp32]:.2f} {fp32}",
        f"**{ratios[best]:.2f}** {best}",
        shared,
    )
    return ["| " + " | ".join(cells) + " |"]


def table() -> str:
    """Everything between the markers."""
    lines = []
    for folder in sorted(path for path in (ROOT / "bench" / "results").iterdir() if path.is_dir()):
        files = sorted(folder.glob("*.json"))
        lines += [
            f"`{folder.name}`, batch 1, two threads, random weights:",
            "",
            "| network | printed, torch fp32: ms | best fp32: ratio | best: ratio | same label as fp32 |",
            "|---|---|---|---|---|",
            *(row for file in files for row in rows(file)),
        ]
    return "\n".join(lines)


def spliced(readme: str) -> str:
    """``readme`` with the table in place."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(spliced(page.read_text()))
