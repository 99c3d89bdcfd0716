"""Public per-frame networks on the same samples: ``crops.json`` names samples, ``peers.json`` has probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.studies.real_people.run import Row, Run
from bench.studies.real_people.samples import Sample
from dfer_edge.errors import CorruptArtifact, InvalidInput

NAMES = {"faceapi": "face-api", "human": "FER2013-trained (Human)"}


def read(folder: str | Path, samples: Sequence[Sample]) -> list[Run]:
    """A run of each peer on the sets that it has seen; a clip is the mean over its frames.

    Parameters
    ----------
    folder
        With ``peers.json`` and ``crops.json``.
    samples
        Those to judge.

    Raises
    ------
    CorruptArtifact
        If a file is absent or of another form.
    InvalidInput
        If the peers have seen a set, but not all of its samples: they were run on another cut.
    """
    folder = Path(folder)
    try:
        seen = json.loads((folder / "crops.json").read_text(encoding="utf-8"))
        said = json.loads((folder / "peers.json").read_text(encoding="utf-8"))
        labels, crops = tuple(said["labels"]), said["probabilities"]
        chosen = {(row["set"], row["label"], Path(row["path"]).name): row["crops"] for row in seen}
        runs = [Run(NAMES.get(key, key), labels, _rows(key, chosen, crops, samples), {"peer": key}) for key in crops[0]]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise CorruptArtifact(f"expected peers.json and crops.json of one run in {folder}: {error!r}") from error
    return runs


def _rows(
    peer: str,
    chosen: dict[tuple[str, str, str], list[int]],
    crops: Sequence[dict[str, list[float]]],
    samples: Sequence[Sample],
) -> tuple[Row, ...]:
    sets = {key[0] for key in chosen}
    rows = []
    for sample in samples:
        if sample.set not in sets:
            continue
        if sample.key not in chosen:
            raise InvalidInput(f"expected peers that have seen all of {sample.set}, {sample.path.name} is missing")
        own = [crops[number][peer] for number in chosen[sample.key]]
        mean = tuple(map(float, np.mean(own, axis=0))) if own else None
        rows.append(Row(sample.group, *sample.key, mean))
    return tuple(rows)
