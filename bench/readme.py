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
    speed, parity = result["speed"], {row["second"]: row for row in result["parity_against_torch_fp32"]}
    ratios = {key: values["ratio_p50"] for key, values in speed.items() if key != BASE}
    best_fp32 = min((key for key in ratios if key.endswith("fp32")), key=lambda key: ratios[key])
    best = min(ratios, key=lambda key: ratios[key])
    apart = max(row["max_abs"] for key, row in parity.items() if key.endswith("fp32"))
    shared = [f"{row['top1_agreement']:.1%}" for key, row in parity.items() if key == best]
    cells = (
        f"`{result['provenance']['model']}`",
        f"{speed[BASE]['p50_ms']:.0f}",
        f"{ratios[best_fp32]:.2f} {best_fp32}",
        f"**{ratios[best]:.2f}** {best}",
        f"{apart:.0e}",
        f"{shared[0] if shared else '-'} of {next(iter(parity.values()))['samples']}",
    )
    return ["| " + " | ".join(cells) + " |"]


def streaming_rows(path: Path) -> list[str]:
    """Rows of the sliding-window results: one step against the whole clip."""
    result: dict[str, Any] = json.loads(path.read_text())
    return [
        f"| {name} | {row['ratio_p50']:.2f} | {row['macs']['ratio']:.2f} |"
        for name, row in result.get("streaming", {}).items()
    ]


def table() -> str:
    """Everything between the markers."""
    lines = []
    for folder in sorted(path for path in (ROOT / "bench" / "results").iterdir() if path.is_dir()):
        files = sorted(folder.glob("*.json"))
        lines += [
            f"`{folder.name}`, batch 1, two threads, random weights. Parity: largest difference of a probability",
            "between the three fp32 engines, and how often the fastest engine gives the label of torch fp32.",
            "",
            "| network | printed, torch fp32: ms | best fp32: ratio | best: ratio | fp32 parity | same label |",
            "|---|---|---|---|---|---|",
            *(row for file in files for row in rows(file)),
            "",
            "| sliding window | step / whole clip: time | multiply-accumulates |",
            "|---|---|---|",
            *(row for file in files for row in streaming_rows(file)),
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
