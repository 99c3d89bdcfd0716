"""Parity: the same feed through two engines, and how far their probabilities are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from dfer_edge.engines.base import LOGITS, Engine, FloatArray
from dfer_edge.errors import InvalidInput
from dfer_edge.flow.postprocess import softmax
from dfer_edge.inference.parts import output_name


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """How two engines differ on one feed.

    Attributes
    ----------
    first, second
        ``engine/precision``.
    samples
        Samples compared.
    max_abs
        Largest absolute difference of any probability.
    max_abs_logits
        Largest absolute difference of any logit.
    cosine
        Smallest cosine similarity of two logit vectors.
    top1_agreement
        Share of samples with the same label, 0 to 1.
    labels_seen
        Distinct labels of the first engine: agreement on a feed with one label says little.
    """

    first: str
    second: str
    samples: int
    max_abs: float
    max_abs_logits: float
    cosine: float
    top1_agreement: float
    labels_seen: int


def parity(first: Engine, second: Engine, feeds: Iterable[Mapping[str, FloatArray]]) -> ParityReport:
    """Run every feed through both engines.

    Raises
    ------
    InvalidInput
        For an empty feed, engines of two networks or parts, or a part that gives no logits.
    """
    if first.spec != second.spec:
        raise InvalidInput(f"expected two engines of one network, got {first.spec.name} and {second.spec.name}")
    if first.part != second.part or output_name(first.part) != LOGITS:
        parts = f"the {first.part} part of {first.spec.name} and the {second.part} part"
        raise InvalidInput(f"expected two engines of one part that gives logits, got {parts}")
    pairs = [(first.infer(feed)[LOGITS], second.infer(feed)[LOGITS]) for feed in feeds]
    if not pairs:
        raise InvalidInput("expected at least one feed, got none")
    a, b = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return ParityReport(
        first=f"{first.name}/{first.options.precision}",
        second=f"{second.name}/{second.options.precision}",
        samples=len(a),
        max_abs=float(np.abs(softmax(a) - softmax(b)).max()),
        max_abs_logits=float(np.abs(a - b).max()),
        cosine=float(((a * b).sum(1) / norms).min()),
        top1_agreement=float((a.argmax(1) == b.argmax(1)).mean()),
        labels_seen=len(np.unique(a.argmax(1))),
    )
