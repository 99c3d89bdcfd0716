"""Accuracy beside speed: of the shipped weights, evaluated in the run or taken from the evaluations that ship too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfer_edge.bench.cases.systems import SPEED_ONLY
from dfer_edge.bench.plan import SHIPPED, split_key
from dfer_edge.bench.report.results import HERE
from dfer_edge.weights import file as weights_files

_KEYS = ("war", "uar", "log_loss", "samples")


class Accuracy:
    """Figures by engine and precision, found once.

    Parameters
    ----------
    data
        Labelled stills or clips to evaluate on; the shipped evaluations are read if None.
    threads
        Of the engines.
    calibration
        Ranges for int8.
    """

    def __init__(self, data: str | None, threads: int, calibration: Path | None = None) -> None:
        self._data, self._threads, self._calibration = data, threads, calibration
        self._shipped = _shipped_evaluations()
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, key: str, config: Mapping[str, Any], sha256: str) -> dict[str, Any]:
        """``war``, ``uar``, ``log_loss`` and ``samples``, ``data`` and ``source``; empty if nobody looked."""
        engine, precision = config["engine"], config["precision"]
        # Ranges from noise make no network that one would use.
        if key != SHIPPED or config.get("ranges") == SPEED_ONLY:
            return {}
        if self._data is not None:
            # Figures of other data do not belong beside these.
            if engine.startswith("torch-"):
                return {}
            if (engine, precision) not in self._found:
                self._found[engine, precision] = self._evaluated(engine, precision)
            return self._found[engine, precision]
        # Exact engines in fp32 differ by rounding, which the gate has seen: any one's figure is all others'.
        names = [f"{engine}/{precision}"] + (["openvino/fp32"] if precision == "fp32" else [])
        for document, file in self._shipped:
            if document["weights"]["sha256"] != sha256:
                continue
            for column in document["columns"]:
                if column["name"] in names:
                    return _figures(column, document, f"{file}, {column['name']}")
        return {}

    def _evaluated(self, engine: str, precision: str) -> dict[str, Any]:
        from dfer_edge.errors import DferError
        from dfer_edge.evaluation.plan import Plan, evaluate

        model, weights = split_key(SHIPPED)
        plan = Plan(model, str(self._data), weights, (engine,), (precision,), threads=self._threads)
        if precision == "int8" and self._calibration is not None:
            return {"not_evaluated": "evaluate reads the ranges beside the weights only"}
        try:
            content = evaluate(plan).content
        except DferError as error:
            return {"not_evaluated": str(error)}
        return _figures(content["columns"][0], content, HERE)


def require_data(data: str | None) -> None:
    """Read the labelled data once before anything is measured.

    Raises
    ------
    DferError
        If they cannot be evaluated on, see :func:`dfer_edge.evaluation.data.read`.
    """
    if data is not None:
        from dfer_edge.evaluation.data import read

        read(data, weights_files.resolve(*split_key(SHIPPED)).spec.labels)


def _figures(column: Mapping[str, Any], document: Mapping[str, Any], source: str) -> dict[str, Any]:
    metrics = {key: column["metrics"][key] for key in _KEYS}
    detector = document["protocol"]["detector"]
    return {**metrics, "data": document["data"]["name"], "detector": detector, "source": source}


def _shipped_evaluations() -> list[tuple[dict[str, Any], str]]:
    """Evaluations beside the shipped weights; stills first, which are no renders like those trained on."""
    path = weights_files.shipped(split_key(SHIPPED)[0])
    if path is None:
        return []
    files = sorted(path.parent.glob(f"{path.stem}.evaluation-*.json"), reverse=True)
    return [(json.loads(file.read_text()), file.name) for file in files]
