"""The stages in order: ranges on most clips, bias, exclusions and accuracy on the others."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfer_edge.calibration.bias import correct_bias
from dfer_edge.calibration.clip_set import LEAST_CLIPS, ClipSet, Progress, Subset
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.ranges import DEFAULT_METHOD, calibrate
from dfer_edge.calibration.report import Report, layer_snr
from dfer_edge.calibration.sensitivity import Trial, check_budget, search
from dfer_edge.calibration.table import RangeTable
from dfer_edge.errors import CalibrationError

# A quarter of the clips is kept for looking at what int8 changed.
_HOLD_OUT = 4
_SNR_CLIPS = 4

Bar = Callable[[str], contextlib.AbstractContextManager[Progress]]
"""A title in, a context manager out that yields a function of (done, total)."""


@contextlib.contextmanager
def _silent(title: str) -> Any:
    yield lambda done, total: None


def run(
    onnx_path: str | Path,
    clips: ClipSet,
    method: str = DEFAULT_METHOD,
    max_drop: float = 0.5,
    threads: int | None = None,
    bar: Bar = _silent,
) -> tuple[RangeTable, Report]:
    """Ranges with bias correction, exclusions and measured accuracy, and the report.

    Parameters
    ----------
    onnx_path
        A float network in any conv form.
    clips
        Of faces. A quarter is held out, whole files where that is possible (:meth:`ClipSet.split`): the others make the
        ranges, these show what int8 changed.
    method
        See :func:`dfer_edge.calibration.calibrate`.
    max_drop
        Points that int8 may cost, of unweighted average recall where the clips' classes are known, else of top-1
        agreement with fp32; layers stay float until that holds.
    threads
        CPU threads; the cores this process may use if None.
    bar
        Makes a progress bar.

    Raises
    ------
    CalibrationError
        For a negative budget, too few clips, or as :func:`dfer_edge.calibration.calibrate`.
    """
    path = Path(onnx_path)
    check_budget(max_drop)
    used, held = clips.split(_HOLD_OUT)
    if len(used) < LEAST_CLIPS:
        least = -(-LEAST_CLIPS * _HOLD_OUT // (_HOLD_OUT - 1))
        apart = f", {len(used)} of them apart from those held out" if len(clips) >= least else ""
        raise CalibrationError(
            f"expected at least {least} different clips, got {len(clips)}{apart}",
            "give more videos of faces; hundreds are usual",
        )
    with bar("ranges") as progress:
        table = calibrate(path, used, method, threads=threads, progress=progress)
    with bar("bias") as progress:
        table = correct_bias(path, table, used, threads, progress)
    with tempfile.TemporaryDirectory() as folder:
        with bar("fp32") as progress:
            trial = Trial(path, held, Path(folder), held.truth, threads, progress)
        with bar("sensitivity") as progress:
            found = search(trial, table, max_drop, progress)
        table = found.table
        if table.exclude:
            # Other layers are int8 than when it was measured.
            with bar("bias again") as progress:
                table = correct_bias(path, table, used, threads, progress)
        return _measure(trial, table, held, found.curve, threads, bar)


def _measure(
    trial: Trial, table: RangeTable, held: Subset, curve: Any, threads: int | None, bar: Bar
) -> tuple[RangeTable, Report]:
    with bar("accuracy") as progress:
        found = trial.run(table, progress)
    with bar("layers") as progress:
        snr = layer_snr(trial.path, trial.write(table, "int8"), held[:_SNR_CLIPS], threads, progress)
    accuracy = {
        "clips": found.clips,
        "drop": found.drop,
        "truth": found.truth,
        "top1_agreement": found.top1_agreement,
        "mean_probability_difference": found.mean_probability_difference,
        "labels_seen": found.labels_seen,
        "engine": trial.engine,
    }
    table = dataclasses.replace(table, accuracy=accuracy)
    report = Report(
        model=table.model,
        weights=table.weights,
        method=table.method,
        scheme=trial.scheme,
        engine=trial.engine,
        calibration_clips=table.clips,
        comparison=found,
        snr_db=snr,
        layers=plan(GraphIndex(read(trial.path), trial.path), table.exclude).rows(),
        curve=tuple(curve),
    )
    return table, report
