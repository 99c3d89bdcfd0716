"""Fit temperature, priors and the table of risk for a weights file from its own evaluations, and store them in it.

dfer-edge evaluate NAME --weights NEW.safetensors --data RENDERS_LIKE_THE_FIELD --out FOLDER
python -m bench.studies.confidence NEW.safetensors OUT.safetensors FOLDER/evaluation.json [MORE.json ...] [--prior]

Never on data that the card judges with: renders, or another split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import confidence, metrics
from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.evaluation.document import read_json
from dfer_edge.weights import file as weights


def main(words: Sequence[str] | None = None) -> int:
    """Fit, store, print; 2 for evaluations that are not of these weights.

    Returns
    -------
    The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("evaluations", type=Path, nargs="+", help="of which the first column counts")
    parser.add_argument("--prior", action="store_true", help="also a factor for each class")
    given = parser.parse_args(words)
    try:
        source = weights.load(given.weights)
        if confidence.NOTE in source.notes:
            raise InvalidInput(f"expected weights without a confidence, {given.weights.name} has one already")
        documents = [_of(source, read_json(path)) for path in given.evaluations]
        truth = [source.spec.labels.index(row["label"]) for document in documents for row in document["predictions"]]
        scores = [_first(row) for document in documents for row in document["predictions"]]
        found = confidence.fit(truth, scores, given.prior)
        confidence.annotate(given.weights, given.out, found)
    except DferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    before, after = (metrics.measure(truth, _after(one, scores)) for one in (confidence.Confidence(), found))
    print(f"temperature {found.temperature:.3f}, prior {[round(value, 3) for value in found.prior] or 'none'}")
    print(f"log loss {before.log_loss:.3f} -> {after.log_loss:.3f}, ECE {before.ece:.3f} -> {after.ece:.3f}")
    for risk, least in found.risk:
        print(f"risk {risk:.2f}: from confidence {least:.3f}")
    return 0


def _of(source: weights.Weights, document: dict[str, Any]) -> dict[str, Any]:
    if document["weights"]["sha256"] != source.sha256:
        raise InvalidInput(
            f"expected evaluations of {source.name}, {source.sha256[:12]}; got {document['weights']['sha256'][:12]}"
        )
    return document


def _first(row: dict[str, Any]) -> list[float]:
    scores: list[float] = next(iter(row["probabilities"].values()))
    total = sum(scores)  # files hold six digits
    return [score / total for score in scores]


def _after(one: confidence.Confidence, scores: Sequence[Sequence[float]]) -> Any:
    return one.probabilities(np.log(np.maximum(scores, metrics.SMALLEST)))


if __name__ == "__main__":
    sys.exit(main())
