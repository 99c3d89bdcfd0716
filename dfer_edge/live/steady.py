"""One person's output over time: baseline, smoothing, label, unknown, events, in this order."""

from __future__ import annotations

import dataclasses

import numpy as np

from dfer_edge.flow.postprocess import UNKNOWN
from dfer_edge.live.events import NEUTRAL, Events
from dfer_edge.live.neutral import PersonalNeutral
from dfer_edge.live.options import Options
from dfer_edge.live.smoothing import Probabilities, SteadyLabel, make_filter
from dfer_edge.types import Prediction


class Steady:
    """What one person is said to express.

    Parameters
    ----------
    options
        Of the stream.
    labels
        Of the network.
    least
        Confidence under which the label is unknown, unless the options have their own.
    """

    def __init__(self, options: Options, labels: tuple[str, ...], least: float = 0.0) -> None:
        self._options, self._labels = options, labels
        self._least = least if options.unknown_below is None else options.unknown_below
        self._filter = make_filter(options.smoothing, options.delay_s)
        smooths = options.smoothing != "off"
        self._label = SteadyLabel(options.margin if smooths else 0.0, options.delay_s if smooths else 0.0)
        self._events = Events()
        has_neutral = options.personal_neutral and NEUTRAL in labels
        self._neutral = PersonalNeutral(labels.index(NEUTRAL)) if has_neutral else None

    def update(self, raw: Prediction, probabilities: Probabilities, time_s: float) -> tuple[Prediction, str | None]:
        """The steady prediction, and the event if there is one.

        Parameters
        ----------
        raw
            Of this window.
        probabilities
            Its probabilities [K] in float64.
        time_s
            Of its newest frame.
        """
        if self._neutral is not None:
            probabilities = self._neutral.update(probabilities, time_s)
        smoothed = self._filter.update(probabilities, time_s)
        best = self._label.update(smoothed, time_s)
        confidence = float(smoothed[best])
        label = self._labels[best]
        event = self._events.update(label, confidence)
        if confidence < self._least:
            label = UNKNOWN
        steady = dataclasses.replace(raw, label=label, confidence=confidence, probabilities=smoothed.astype(np.float32))
        return steady, event
