"""Sensitivity: which layers to leave in float so that accuracy stays within a budget, and what that costs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge import engines
from dfer_edge.calibration.data import ClipSet, Feed, Progress
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.qdq import Scheme, quantize
from dfer_edge.calibration.report import Comparison, FloatArray, compare, probabilities
from dfer_edge.calibration.table import RangeTable
from dfer_edge.errors import CalibrationError


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    table
        The ranges with the exclusions chosen.
    within
        Whether the budget was met.
    layers
        Each layer left in float alone, the most helpful first; empty if nothing had to be excluded.
    curve
        Exclusions and what was left of the drop, from none on.
    """

    table: RangeTable
    within: bool
    layers: Sequence[Mapping[str, Any]]
    curve: Sequence[Mapping[str, Any]]


def sensitivity(
    onnx_path: str | Path,
    table: RangeTable,
    clips: ClipSet | Sequence[Feed],
    max_drop: float = 0.5,
    truth: Sequence[int] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Search:
    """Leave one layer out at a time, then exclude the worst until the drop is within the budget.

    Parameters
    ----------
    onnx_path, table
        A float network and its ranges.
    clips
        Not those that the ranges were made from.
    max_drop
        Points out of 100: of unweighted average recall with ``truth``, else of top-1 agreement with fp32.
    truth
        True class of each clip, if known.
    threads
        CPU threads; the cores this process may use if None.
    progress
        Called with runs done and the most that there can be.

    Raises
    ------
    CalibrationError
        For a negative budget or no clips.
    """
    if not max_drop >= 0:
        raise CalibrationError(f"expected a budget of at least 0 points, got {max_drop!r}")
    if not len(clips):
        raise CalibrationError("expected clips to compare on, got none")
    index = GraphIndex(read(onnx_path), onnx_path)
    names = [layer.name for layer in plan(index).layers if layer.kind == "int8" and layer.name not in table.exclude]
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(onnx_path), table, clips, Path(folder), truth, threads)
        curve = [_point((), trial.run(()))]
        layers: list[dict[str, Any]] = []
        if curve[0]["drop"] > max_drop:
            for number, name in enumerate(dict.fromkeys(names)):
                layers.append({"layer": name} | _point((name,), trial.run((name,))))
                if progress:
                    progress(number + 1, 2 * len(names))
            layers.sort(key=lambda entry: (entry["mean_probability_difference"], entry["layer"]))
            curve += _exclude(trial, [entry["layer"] for entry in layers], max_drop, progress)
    best = next((point for point in curve if point["drop"] <= max_drop), None)
    # Nothing met the budget: the closest is returned, and says that it is not within.
    chosen = best or min(curve, key=lambda point: (point["drop"], len(point["exclude"])))
    excluded = dataclasses.replace(table, exclude=tuple(sorted({*table.exclude, *chosen["exclude"]})))
    return Search(excluded, best is not None, layers, curve)


def _exclude(trial: Trial, ranked: list[str], max_drop: float, progress: Progress | None) -> list[dict[str, Any]]:
    """One more layer at a time, doubling: a handful of runs instead of one a layer."""
    curve, count = [], 1
    while count < 2 * len(ranked):
        chosen = tuple(ranked[:count])
        curve.append(_point(chosen, trial.run(chosen)))
        if progress:
            progress(len(ranked) + min(count, len(ranked)), 2 * len(ranked))
        if curve[-1]["drop"] <= max_drop:
            break
        count *= 2
    return curve


def _point(exclude: tuple[str, ...], found: Comparison) -> dict[str, Any]:
    return {
        "exclude": list(exclude),
        "drop": found.drop,
        "top1_agreement": found.top1_agreement,
        "mean_probability_difference": found.mean_probability_difference,
    }


def int8_engine() -> tuple[str, Scheme]:
    """Where int8 can be looked at on this machine, and the scheme of its file: OpenVINO, else the simulator."""
    if not engines.reasons("openvino") and not engines.precision_reasons("openvino")["int8"]:
        return "openvino", "unsigned"
    return "onnxruntime", "symmetric"


class Trial:
    """Compares quantised forms of one network with its fp32 on the same clips.

    Parameters
    ----------
    path, table
        The float network and its ranges.
    clips
        Read once for fp32 and once a run.
    folder
        For the quantised files.
    truth, threads
        As in :func:`sensitivity`.
    """

    def __init__(
        self,
        path: Path,
        table: RangeTable,
        clips: ClipSet | Sequence[Feed],
        folder: Path,
        truth: Sequence[int] | None = None,
        threads: int | None = None,
    ) -> None:
        self._path, self._table, self._clips, self._folder = path, table, clips, folder
        self._truth, self._threads = truth, threads
        self.engine, self.scheme = int8_engine()
        with engines.load_engine(path, self.engine, "fp32", threads=threads) as engine:
            self._labels = engine.spec.labels
            self._reference = probabilities(engine, clips)

    def run(self, exclude: Sequence[str], keep: Path | None = None) -> Comparison:
        """The comparison with these layers in float beside those of the table."""
        table = dataclasses.replace(self._table, exclude=tuple(sorted({*self._table.exclude, *exclude})))
        path = quantize(self._path, table, keep or self._folder / "trial.onnx", self.scheme)
        with engines.load_engine(path, self.engine, "int8", threads=self._threads) as engine:
            found: FloatArray = probabilities(engine, self._clips)
        return compare(self._reference, found, self._labels, self._truth)
