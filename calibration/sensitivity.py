"""Sensitivity: which layers to leave in float so that accuracy stays within a budget, and what that costs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge import engines
from dfer_edge.calibration.clip_set import ClipSet, Feed, Progress
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
    check_budget(max_drop)
    if not len(clips):
        raise CalibrationError("expected clips to compare on, got none")
    with tempfile.TemporaryDirectory() as folder:
        return search(Trial(Path(onnx_path), clips, Path(folder), truth, threads), table, max_drop, progress)


def check_budget(max_drop: float) -> None:
    """Raises CalibrationError unless ``max_drop`` is a number of points."""
    if not max_drop >= 0:
        raise CalibrationError(f"expected a budget of at least 0 points, got {max_drop!r}")


def search(trial: Trial, table: RangeTable, max_drop: float, progress: Progress | None = None) -> Search:
    """As :func:`sensitivity`, of a network and clips whose fp32 results are known already."""
    index = GraphIndex(read(trial.path), trial.path)
    kinds = {layer.name: layer.kind for layer in plan(index, table.exclude).layers}
    names = [name for name, kind in kinds.items() if kind == "int8"]
    report = progress or (lambda done, total: None)
    curve = [_point((), trial.run(table))]
    report(1, 1 + 2 * len(names))
    layers: list[dict[str, Any]] = []
    if curve[0]["drop"] > max_drop:
        for number, name in enumerate(names):
            layers.append({"layer": name} | _point((name,), trial.run(without(table, (name,)))))
            report(2 + number, 1 + 2 * len(names))
        layers.sort(key=lambda entry: (entry["mean_probability_difference"], entry["layer"]))
        curve += _exclude(trial, table, [entry["layer"] for entry in layers], max_drop, report)
    best = next((point for point in curve if point["drop"] <= max_drop), None)
    # Nothing met the budget: the closest is returned, and says that it is not within.
    chosen = best or min(curve, key=lambda point: (point["drop"], len(point["exclude"])))
    report(1 + 2 * len(names), 1 + 2 * len(names))
    return Search(without(table, chosen["exclude"]), best is not None, layers, curve)


def without(table: RangeTable, exclude: Sequence[str]) -> RangeTable:
    """The table with more layers in float; the shift of its logits was measured with them in int8 and goes."""
    if not exclude:
        return table
    return dataclasses.replace(table, exclude=tuple(sorted({*table.exclude, *exclude})), logit_shift=())


def _exclude(
    trial: Trial, table: RangeTable, ranked: list[str], max_drop: float, report: Progress
) -> list[dict[str, Any]]:
    """One more layer at a time, doubling: a handful of runs instead of one a layer."""
    curve, count = [], 1
    while count < 2 * len(ranked):
        chosen = tuple(ranked[:count])
        curve.append(_point(chosen, trial.run(without(table, chosen))))
        report(1 + len(ranked) + min(count, len(ranked)), 1 + 2 * len(ranked))
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
    path
        The float network.
    clips
        Read once for fp32 and once a run.
    folder
        For the quantised files.
    truth, threads
        As in :func:`sensitivity`.
    progress
        Called with clips done of fp32 and clips in all.
    """

    def __init__(
        self,
        path: Path,
        clips: ClipSet | Sequence[Feed],
        folder: Path,
        truth: Sequence[int] | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.path, self._clips, self._folder = path, clips, folder
        self._truth, self._threads = truth, threads
        self._known: dict[str, Comparison] = {}
        self.engine, self.scheme = int8_engine()
        with engines.load_engine(path, self.engine, "fp32", threads=threads) as engine:
            self._labels = engine.spec.labels
            self._reference = probabilities(engine, clips, progress)

    def run(self, table: RangeTable, progress: Progress | None = None) -> Comparison:
        """The comparison with these ranges, exclusions and shift; the same table is not run again."""
        if table.scales_sha256 in self._known:
            if progress:
                progress(len(self._clips), len(self._clips))
        else:
            path = self.write(table, "trial")
            with engines.load_engine(path, self.engine, "int8", threads=self._threads) as engine:
                found: FloatArray = probabilities(engine, self._clips, progress)
            self._known[table.scales_sha256] = compare(self._reference, found, self._labels, self._truth)
        return self._known[table.scales_sha256]

    def write(self, table: RangeTable, name: str) -> Path:
        """The quantised file as :meth:`run` runs it."""
        return quantize(self.path, table, self._folder / f"{name}.onnx", self.scheme)
