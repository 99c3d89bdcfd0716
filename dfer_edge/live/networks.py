"""From a loaded engine to the network of a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from dfer_edge.confidence import Confidence
from dfer_edge.engines.base import Engine
from dfer_edge.errors import WeightsNotFound
from dfer_edge.export.loading import Request, load, load_parts
from dfer_edge.faces import LandmarkDetector
from dfer_edge.faces.landmarks import CHOICES
from dfer_edge.inference import registry
from dfer_edge.live.batching import Network
from dfer_edge.live.scoring import Scorer, make_scorer
from dfer_edge.live.tracking import Watching


def load_network(
    request: Request,
    engine: Engine,
    weights: Mapping[str, str],
    confidence: Confidence,
    least: float,
    landmarks: LandmarkDetector | None,
    watching: Callable[[str], Watching],
) -> Network:
    """The network of streams; loads the two parts of it where it has them.

    Parameters
    ----------
    request, engine
        What was asked for, and the whole network that was loaded for it.
    weights, confidence, least, landmarks, watching
        See :class:`Network`.

    Raises
    ------
    WeightsNotFound
        If the network takes landmarks and there is no detector of them.
    """
    spec = engine.spec
    if spec.landmarks and landmarks is None:
        what = f"{spec.name} takes {spec.landmarks} landmarks a frame"
        raise WeightsNotFound(f"{what}: expected a landmark detector for a stream, got none", CHOICES)

    def other(precision: str) -> Scorer:
        asked = dataclasses.replace(request, engine=engine.name, precision=precision)
        loaded = load(asked).engine
        return make_scorer(loaded, load_parts(asked, loaded))

    return Network(
        spec=spec,
        weights=weights,
        frames_per_step=registry.find(spec.name).frames_per_step or 1,
        scorer=make_scorer(engine, load_parts(request, engine)),
        probabilities=confidence.probabilities,
        least=least,
        landmarks=landmarks,
        watching=watching,
        others=other,
    )
