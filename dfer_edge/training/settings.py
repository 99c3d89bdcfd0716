"""How a run runs, as opposed to what: none of it belongs to the recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from dfer_edge.errors import InvalidInput, PrecisionUnavailable
from dfer_edge.training.recipes import Recipe

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what: none of it belongs to the recipe.

    Attributes
    ----------
    out
        Folder of checkpoint, logs and weights.
    seed
        Of everything that is drawn.
    device
        ``"cpu"`` or ``"cuda"``.
    precision
        ``"fp32"``, ``"bf16"`` or, on CUDA, ``"fp16"`` with a loss scaler.
    fold
        Run 3-D layers as 2-D ones (:mod:`.fold_time`); None for a CPU yes, CUDA no.
    workers
        Processes that read clips; 0 reads in the loop.
    accumulate
        Parts a step is cut into, to save memory.
    save_every_s
        Seconds between checkpoints within an epoch; one is written after each epoch anyway.
    data_name
        For the notes of the weights file.
    resumes
        Write checkpoints, curves and the last weights. False keeps the best weights and the log alone, for runs of
        seconds: one that was killed starts over.
    """

    out: Path
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    fold: bool | None = None
    workers: int = 0
    accumulate: int = 1
    save_every_s: float = 300.0
    data_name: str = ""
    resumes: bool = True


def check(recipe: Recipe, settings: Settings, clips: int, world: int) -> None:
    """Raises InvalidInput or PrecisionUnavailable for settings that a run of ``clips`` clips cannot have."""
    on_gpu = (settings.precision, settings.device) == ("bf16", "cuda")
    if on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise PrecisionUnavailable("expected a GPU that computes in bf16, this one emulates it", "--precision fp16")
    if settings.precision not in PRECISIONS or (settings.precision == "fp16" and settings.device != "cuda"):
        raise InvalidInput(
            f"expected precision fp32, bf16, or fp16 on CUDA; got {settings.precision!r} on {settings.device}"
        )
    if settings.accumulate < 1 or settings.workers < 0 or settings.seed < 0:
        raise InvalidInput(
            f"expected accumulate of at least 1, workers and seed of at least 0; got {settings.accumulate}, "
            f"{settings.workers}, {settings.seed}"
        )
    for stage in recipe.stages:
        if stage.batch % (world * settings.accumulate):
            raise InvalidInput(
                f"expected a batch that {world} processes of {settings.accumulate} parts share, got {stage.batch}"
            )
        if clips < stage.batch:
            raise InvalidInput(f"expected at least a batch of {stage.batch} clips, got {clips}", "lower stages.batch")
