"""From action units to intensity, valence and arousal: a rule, not a measurement of what somebody feels.

Signs follow what raters and electromyography agree on: the zygomatic (12) rises and the corrugator (4) falls with
valence, both linearly (Larsen, Norris and Cacioppo, Psychophysiology 40, 2003); the units of disgust, fear and sadness
in the prototypes of FACS (Ekman, Friesen and Hager, 2002) pull it down. Arousal follows how far eyes, brows and mouth
open, as the ratings of surprise, fear and anger do on the circumplex of Russell (1980), and falls with closing lids.
The sizes of the weights are round numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from dfer_edge.types import Signals

VALENCE = {"AU12": 1.0, "AU4": -0.8, "AU9": -0.8, "AU10": -0.3, "AU17": -0.4, "AU20": -0.5}
AROUSAL = {
    "AU5": 0.9,
    "AU26": 1.0,
    "AU1": 0.4,
    "AU2": 0.4,
    "AU4": 0.4,
    "AU9": 0.4,
    "AU12": 0.3,
    "AU20": 0.5,
    "AU43": -1.0,
}
# So many units at full intensity are an expression of intensity 1.
_FULL = 2.0


def signals_of(units: Mapping[str, float], frames: int) -> Signals:
    """The signals of action units.

    Parameters
    ----------
    units
        Intensity by name, 0 to 1.
    frames
        That they are the mean of.
    """
    power = sum(value * value for value in units.values())
    return Signals(
        units=dict(units),
        intensity=min(1.0, (power / _FULL) ** 0.5),
        valence=_weighed(units, VALENCE),
        arousal=_weighed(units, AROUSAL),
        frames=frames,
    )


def _weighed(units: Mapping[str, float], weights: Mapping[str, float]) -> float:
    total = sum(weight * units.get(name, 0.0) for name, weight in weights.items())
    return max(-1.0, min(1.0, total))
