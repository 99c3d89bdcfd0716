"""Two experiments of the papers on trained weights: clips that begin later (001), pixels that work against them (002).

001 asks whether a network learns how a face looks at the start of a sequence, where it is neutral, instead of how it
changes: the share of frames that its Fig. 1 and 2 leave out is moved. 002 prints how far accuracy falls under an
adversarial perturbation and names no method: the one step of Goodfellow et al., "Explaining and harnessing adversarial
examples", ICLR 2015, is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfer_edge import metrics
from dfer_edge.errors import DferError, InvalidInput, NoFaceFound
from dfer_edge.evaluation.data import Sample
from dfer_edge.evaluation.run import prediction_of, source_of
from dfer_edge.flow import preprocess
from dfer_edge.sources.opening import open_source
from dfer_edge.training.data.samples import ClipSource
from dfer_edge.types import Clip
from dfer_edge.weights import file as weights_files

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.recognizer import Recognizer
    from dfer_edge.spec import ModelSpec

Floats = npt.NDArray[np.float64]


def training_form(spec: ModelSpec, weights: str | Path) -> nn.Module:
    """The torch network of a recogniser's weights, in evaluation mode.

    Raises
    ------
    DferError
        For an ``.onnx`` file and for random weights, which have no training form; without torch.
    """
    from dfer_edge.models import require_torch

    require_torch("looking inside a network")
    if Path(weights).suffix == ".onnx":
        raise DferError("an .onnx file holds the inference form, not the training form")
    source = weights_files.resolve(spec.name, weights)
    if source.is_random:
        raise DferError("random weights have no training form")
    from dfer_edge.evaluation import explain

    return explain.trained_module(spec, source)


def from_later(found: ClipSource, start: float) -> ClipSource:
    """The clip without the first ``start`` (0 to below 1) of its frames; at least one stays."""
    frames = [frame.image for frame in open_source(found.source)] if isinstance(found.source, Path) else found.source
    first = min(int(start * len(frames)), len(frames) - 1)
    landmarks = None if found.landmarks is None else found.landmarks[first:]
    return ClipSource(list(frames[first:]), found.cropped, landmarks)


def by_start(
    recognizer: Recognizer, samples: Sequence[Sample], starts: Sequence[float], faces: str
) -> list[dict[str, Any]]:
    """WAR and UAR where every clip begins at each share of ``starts``; lost faces are wrong, stills are left out.

    Raises
    ------
    InvalidInput
        For a share outside 0 to 1, or samples without a clip.
    """
    if odd := [start for start in starts if not 0 <= start < 1]:
        raise InvalidInput(f"expected clips to begin at a share of 0 to below 1, got {odd[0]}")
    clips = [sample for sample in samples if sample.given is not None or not sample.is_still]
    rows = []
    for start in starts:
        truth, scores, lost = [], [], []
        for sample in clips:
            found = from_later(source_of(sample, recognizer.spec, faces), start)
            try:
                said = prediction_of(recognizer, sample, found)
            except NoFaceFound:
                lost.append(sample.truth)
            else:
                truth.append(sample.truth)
                scores.append(said.probabilities)
        if not truth:
            raise InvalidInput(f"expected clips with a face that begin at {start}, got none of {len(samples)} samples")
        measured = metrics.measure(truth, scores, lost)
        rows.append({"start": start, "samples": measured.samples, "war": measured.war, "uar": measured.uar})
    return rows


def perturbed(module: nn.Module, clip: Clip, spec: ModelSpec, truth: int, levels: Sequence[float]) -> Floats:
    """Probabilities [L, K] of a clip whose pixels moved ``levels`` (of 255) against its true class, one step each.

    Every pixel moves by as much up or down, whichever way the loss grows, and stays within 0 to 255.

    Raises
    ------
    InvalidInput
        For networks that read binary patterns: those do not move by levels.
    """
    if spec.pixels != "rgb":
        raise InvalidInput(f"expected a network that reads colours to move them, {spec.name} reads {spec.pixels}")
    import torch

    from dfer_edge.training.objective import Objective
    from dfer_edge.training.recipes import Losses

    of_clip = preprocess.to_feed([clip], spec)
    # As training holds clips, frames of image networks too: [1, 3, T, S, S].
    pixels = torch.from_numpy(of_clip.get("clip", np.empty(0)))
    if spec.input == "image":
        pixels = torch.from_numpy(of_clip["image"]).transpose(0, 1)[None]
    batch = {"clip": pixels.requires_grad_()}
    if spec.landmarks:
        batch["landmarks"] = torch.from_numpy(of_clip["landmarks"])
    objective = Objective(module, Losses()).eval()
    torch.autograd.backward(-objective.probabilities(batch)[0, truth].log())
    assert pixels.grad is not None  # noqa: S101 - a leaf after backward
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (spec.mean, spec.std))
    black, white = (0 - mean) / std, (1 - mean) / std
    rows = []
    with torch.inference_mode():
        for level in levels:
            moved = (pixels + level / 255 / std * pixels.grad.sign()).clamp(black, white)
            rows.append(objective.probabilities({**batch, "clip": moved})[0].numpy())
    return np.asarray(rows, np.float64)


def by_level(
    module: nn.Module, clips: Iterable[Clip], truth: Sequence[int], spec: ModelSpec, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """WAR and UAR of clips whose pixels move against them by each of ``levels``; 0 leaves them.

    Raises
    ------
    InvalidInput
        For levels outside 0 to 255.
    """
    if odd := [level for level in levels if not 0 <= level <= 255]:
        raise InvalidInput(f"expected pixels to move by 0 to 255 levels, got {odd[0]}")
    found = np.stack([perturbed(module, clip, spec, own, levels) for clip, own in zip(clips, truth, strict=True)])
    measured = [metrics.measure(truth, found[:, number]) for number in range(len(levels))]
    return [
        {"levels": level, "samples": own.samples, "war": own.war, "uar": own.uar}
        for level, own in zip(levels, measured, strict=True)
    ]
