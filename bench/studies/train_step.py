"""One training step on this CPU, two threads: the fast form against eager fp32 Conv3d, checked before it is timed.

python -m bench.studies.train_step slowr50_sa --out bench/results/CPU/train_step.json

The crops of paper 001's Table 5:
python -m bench.studies.train_step smate --frames 16 --shapes 1x64 1x128 1x224 1x320

bf16 is timed where the processor has its products. All forms run as ``dfer-edge train``, with freed memory kept.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(2)

import torch  # noqa: E402
from torch import nn  # noqa: E402

from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.inference import registry  # noqa: E402
from dfer_edge.system import cpu  # noqa: E402
from dfer_edge.training.fold_time import fold_time  # noqa: E402
from dfer_edge.training.memory import freed_memory_kept  # noqa: E402
from dfer_edge.training.network import scale_residuals  # noqa: E402
from dfer_edge.training.objective import Objective  # noqa: E402
from dfer_edge.training.recipes import Losses  # noqa: E402

# (clips, side in pixels): the paper's size and that of our renders.
SHAPES = ((2, 196), (4, 196), (2, 112), (4, 112))
# (name, 2-D form with a fused optimiser, bf16); the first is what one writes without thinking.
FORMS: tuple[tuple[str, bool, bool], ...] = (
    ("eager fp32 Conv3d", False, False),
    ("2-D fp32", True, False),
    ("2-D bf16", True, True),
)
if not cpu.has_bf16():
    FORMS = FORMS[:2]


def stepper(objective: Objective, batch: dict[str, Any], fold: bool, bf16: bool, optimise: bool) -> Callable[[], None]:
    """A function that takes one step: forward and backward, and with ``optimise`` AdamW."""
    if fold:
        fold_time(objective)
        batch = {**batch, "clip": batch["clip"].contiguous(memory_format=torch.channels_last_3d)}
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-5, fused=fold or None)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(batch)["loss"]
        loss.backward()
        if optimise:
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def gradients(network: nn.Module, batch: dict[str, Any], fold: bool, bf16: bool) -> torch.Tensor:
    """All gradients of one step in a row."""
    objective = Objective(copy.deepcopy(network), Losses()).train()
    for layer in objective.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # bf16 draws another mask from the same seed
    if fold:
        fold_time(objective)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = objective(batch)["loss"]
    loss.backward()
    return torch.cat([p.grad.flatten() for p in objective.parameters() if p.grad is not None])


def agreement(model: str, frames: int, size: int) -> dict[str, float]:
    """Relative distance of each form's gradient from eager fp32's."""
    network = network_of(model, frames, size)
    batch = {"clip": torch.randn(4, 3, frames, size, size), "label": torch.arange(4)}
    reference = gradients(network, batch, fold=False, bf16=False)
    distances = {name: gradients(network, batch, fold, bf16) - reference for name, fold, bf16 in FORMS[1:]}
    return {name: float(distance.norm() / reference.norm()) for name, distance in distances.items()}


def network_of(model: str, frames: int, size: int) -> nn.Module:
    """A fresh network of that input, the same each time.

    A fresh ResNet-50 amplifies the rounding of its gradients beyond use; with weak residuals it does not.
    """
    torch.manual_seed(0)
    entry = registry.find(model)
    network: nn.Module = entry.training().create(dataclasses.replace(entry.spec, frames=frames, size=size))
    scale_residuals(network, 0.1)
    return network


def measure(model: str, frames: int, rounds: int, shapes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Milliseconds a step, in turns, with and without the optimiser."""
    rows = []
    for batch_size, size in shapes:
        network = network_of(model, frames, size)
        batch = {"clip": torch.randn(batch_size, 3, frames, size, size), "label": torch.arange(batch_size) % 7}
        for optimise in (False, True):
            cases = {
                name: stepper(Objective(copy.deepcopy(network), Losses()).train(), batch, fold, bf16, optimise)
                for name, fold, bf16 in FORMS
            }
            taken = timing.interleaved(cases, rounds, warm_up_s=0.1)
            times = {name: timing.summary(values) for name, values in taken.items()}
            base = times[FORMS[0][0]]
            for name, summary in times.items():
                ratios = {f"{key}_speed_up": base[key] / summary[key] for key in ("min", "p50")}
                row = {"clips": batch_size, "frames": frames, "size": size, "optimiser": optimise, "form": name}
                row["steps_a_minute"] = 60_000 / summary["p50"]
                rows.append({**row, **summary, **ratios})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def shape(text: str) -> tuple[int, int]:
    """Clips and side of ``4x112``."""
    clips, side = map(int, text.split("x"))
    return clips, side


def main() -> None:
    """Check, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("slowr50_sa", "slowr50", "r2plus1d_sta", "smate"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", nargs="+", type=shape, default=SHAPES, metavar="CLIPSxSIDE")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    distances = agreement(arguments.model, arguments.frames, 64)
    print(json.dumps(distances))
    # bf16 keeps 8 bits; what 53 layers make of that is some percent. The fp32 forms differ by rounding.
    if distances["2-D fp32"] > 1e-2 or distances.get("2-D bf16", 0.0) > 0.3:
        raise SystemExit(f"the forms do not agree: {distances}")
    with freed_memory_kept() as keeps:
        rows = measure(arguments.model, arguments.frames, arguments.rounds, arguments.shapes)
    shapes = " ".join(f"{clips}x{side}" for clips, side in arguments.shapes)
    asked = f"{arguments.model} --frames {arguments.frames} --rounds {arguments.rounds} --shapes {shapes}"
    result = {
        **collect(CORES, f"python -m bench.studies.train_step {asked}"),
        "model": arguments.model,
        "freed_memory_kept": keeps,
        "gradient_distance": distances,
        "steps": rows,
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
