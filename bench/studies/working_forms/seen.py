"""What the pairs learn from and are judged by: features or pixels of rendered clips, and of real people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.studies.real_people.crops import READ_MARGIN, crops
from bench.studies.real_people.faces import finders
from bench.studies.real_people.samples import Sample, find
from dfer_edge.kernels.clip_to_tensor import normalise
from dfer_edge.labels import DFEW
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.shards import open_shards
from dfer_edge.training.loader import Key, Reader, read_batches
from dfer_edge.training.recipes import Stage

_BATCH = 30

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Seen:
    """N inputs, one a draw or a sample.

    Attributes
    ----------
    inputs
        float32 [N, ...].
    labels
        int64 [N], in the order of :data:`dfer_edge.labels.DFEW`.
    sets
        Name of the set of each.
    lost
        Labels of samples without a face, by set: wrong whatever a network says.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    sets: tuple[str, ...]
    lost: tuple[tuple[str, int], ...] = ()

    def of(self, name: str) -> Seen:
        """The inputs of one set."""
        kept = [index for index, own in enumerate(self.sets) if own == name]
        lost = tuple(row for row in self.lost if row[0] == name)
        return Seen(self.inputs[kept], self.labels[kept], (name,) * len(kept), lost)


@torch.no_grad()
def rendered(folder: Path, spec: ModelSpec, stage: Stage, encode: Encode, draws: int, most: int = 0) -> Seen:
    """Rendered clips through ``encode``: as validation shows them, or ``draws`` augmented ones of each.

    Parameters
    ----------
    folder
        Of ``dfer-edge synth``.
    spec, stage
        Preprocessing of the clips [B, 3, T, S, S], and augmentation.
    encode
        Clips to what is learnt from.
    draws
        0 for the crops of validation.
    most
        Clips that are read, evenly spaced; 0 for all.
    """
    data = open_shards(folder)
    order = [list(DFEW).index(name) for name in data.labels]
    chosen = np.linspace(0, len(data) - 1, min(most, len(data)) if most else len(data)).astype(int)
    keys = [Key(int(i), (16, draw, int(i)) if draws else ()) for draw in range(max(draws, 1)) for i in chosen]
    batches = [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
    pairs = [
        (encode(batch["clip"]), batch["label"]) for batch, _ in read_batches(Reader(data, spec, stage), batches, 0)
    ]
    labels = torch.tensor(order)[torch.cat([label for _, label in pairs])]
    return Seen(torch.cat([one for one, _ in pairs]), labels, ("renders",) * len(labels))


@torch.no_grad()
def people(folder: Path, spec: ModelSpec, encode: Encode, sets: Sequence[str] = ()) -> Seen:
    """Samples of the ruler through ``encode``; a still is a clip of one picture, and one frame is of stills alone.

    Raises
    ------
    SourceNotFound, InvalidInput
        If the folder is not there or half cut.
    """
    samples = [one for one in find(folder, DFEW, sets) if spec.frames > 1 or not one.is_sequence]
    detector, landmarks = finders(samples)
    found = crops(samples, detector, landmarks, size=spec.size, margin=READ_MARGIN, count=spec.frames)
    numbers = [number for number in range(len(samples)) if (found.sample == number).any()]
    inputs = []
    for start in range(0, len(numbers), _BATCH):
        clips = [_clip(found.pixels[found.sample == number], spec) for number in numbers[start : start + _BATCH]]
        inputs.append(encode(torch.from_numpy(np.stack(clips))))
    lost = tuple((samples[number].set, _label(samples[number])) for number in found.lost)
    labels = torch.tensor([_label(samples[number]) for number in numbers])
    return Seen(torch.cat(inputs), labels, tuple(samples[number].set for number in numbers), lost)


def _clip(frames: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """[3, T, S, S] of one picture or of those of a sequence in which a face was found."""
    return normalise(frames[np.linspace(0, len(frames) - 1, spec.frames).round().astype(int)], spec)


def _label(sample: Sample) -> int:
    return list(DFEW).index(sample.label)
