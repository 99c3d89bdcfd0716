"""`RangeTable`: what calibration found, as a JSON file that quantises the same network on any machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfer_edge.errors import CalibrationError, CorruptArtifact, WeightsNotFound

FORMAT = "dfer_edge.ranges/1"


@dataclasses.dataclass(frozen=True)
class Range:
    """One tensor.

    Attributes
    ----------
    low, high
        Smallest and largest value seen.
    threshold
        Absolute value that the largest step of int8 stands for; beyond it values are clipped.
    """

    low: float
    high: float
    threshold: float


@dataclasses.dataclass(frozen=True)
class RangeTable:
    """Ranges of a network's activations and how they came about.

    Attributes
    ----------
    model, model_sha256
        Name, and hash of weights and spec: the table fits every conv form and every part of that network.
    weights
        Name of the weights, ``"random"`` for speed work only.
    data_sha256, clips
        Hash over the calibration clips and how many there were.
    method
        ``minmax``, ``percentile``, ``entropy`` or ``mse``.
    ranges
        By place: the weight's name and ``:input`` or ``:output``.
    exclude
        Weights that stay float, found by :func:`dfer_edge.calibration.sensitivity`.
    logit_shift
        What int8 adds to each logit on average; the quantised file takes it out (:mod:`dfer_edge.calibration.bias`).
    accuracy
        What int8 changed on clips that were not used for calibration; empty if nobody looked.
    """

    model: str
    model_sha256: str
    weights: str
    data_sha256: str
    clips: int
    method: str
    ranges: Mapping[str, Range]
    exclude: tuple[str, ...] = ()
    logit_shift: tuple[float, ...] = ()
    accuracy: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Over all of the content."""
        return hashlib.sha256(self._body().encode()).hexdigest()

    @property
    def scales_sha256(self) -> str:
        """Over what the quantised file is made from: ranges and exclusions, not the accuracy found with it."""
        return dataclasses.replace(self, accuracy={}).sha256

    def _body(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def save(self, path: str | Path) -> Path:
        """Write the table as JSON.

        Raises
        ------
        CalibrationError
            If the file cannot be written.
        """
        path = Path(path)
        content = {"format": FORMAT, "sha256": self.sha256, **dataclasses.asdict(self)}
        write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> RangeTable:
        """Read and verify a table.

        Raises
        ------
        WeightsNotFound
            If there is no such file.
        CorruptArtifact
            If it is no table, or was changed after it was written.
        """
        path = Path(path)
        if not path.is_file():
            raise WeightsNotFound(f"expected a ranges file, found nothing at {path}", "dfer-edge calibrate writes one")
        try:
            content = json.loads(path.read_text())
            kind, stated = content.pop("format"), content.pop("sha256")
            content["ranges"] = {name: _range(entry) for name, entry in content["ranges"].items()}
            content["exclude"] = tuple(content["exclude"])
            content["logit_shift"] = tuple(map(float, content["logit_shift"]))
            table = cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifact(f"expected a ranges file of dfer-edge calibrate, got {path}: {error}") from error
        if kind != FORMAT:
            raise CorruptArtifact(f"expected format {FORMAT!r}, got {kind!r} in {path}")
        if table.sha256 != stated:
            raise CorruptArtifact(f"expected content sha256 {stated}, got {table.sha256} in {path}")
        return table

    def require(self, identity: str, what: object) -> None:
        """Check that these are ranges of the network with this hash.

        Raises
        ------
        CalibrationError
        """
        if self.model_sha256 != identity:
            raise CalibrationError(
                f"expected ranges of the weights in {what} ({identity[:12]}), got ranges of {self.model} with weights "
                f"{self.weights} ({self.model_sha256[:12]})",
                "dfer-edge calibrate",
            )


def _range(entry: Mapping[str, float]) -> Range:
    found = Range(**{key: float(value) for key, value in entry.items()})
    values = (found.low, found.high, found.threshold)
    if not all(map(math.isfinite, values)) or found.threshold < 0 or found.low > found.high:
        raise ValueError(f"{found} is no range")
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    CalibrationError
        If the folder is missing, full or cannot be written.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise CalibrationError(f"cannot write {path}: {error}", "choose a folder that exists and has room") from error
