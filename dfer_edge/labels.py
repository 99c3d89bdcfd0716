"""Label sets of the field, in the class order of each data set."""

from __future__ import annotations

from collections.abc import Sequence

# Class order of DFEW and FERV39k, printed in paper 000 and used by papers 003 and 004.
DFEW = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")

# What the renderer draws: the classes of DFEW in its order, and contempt.
RENDERED = (*DFEW, "contempt")

# Alphabetical orders: CK+ has contempt in place of neutral; AFEW and OULU-CASIA share one order.
CK_PLUS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
AFEW = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

# MAFW in the order of its result tables: AN DI FE HA NE SA SU CO AX HL DS.
MAFW = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)

DAISEE_ENGAGEMENT = ("very low", "low", "high", "very high")


def numbered(num_classes: int) -> tuple[str, ...]:
    """Neutral names for a head whose classes nobody named: ``("class 0", "class 1", ...)``."""
    return tuple(f"class {index}" for index in range(num_classes))


# What data sets, file names and people call one expression. The first of a row is the adjective.
_SAME = (
    ("happy", "happiness", "joy"),
    ("sad", "sadness"),
    ("neutral", "neutrality"),
    ("angry", "anger"),
    ("surprised", "surprise"),
    ("disgusted", "disgust"),
    ("fearful", "fear", "afraid"),
    ("contemptuous", "contempt"),
    ("anxious", "anxiety"),
    ("helpless", "helplessness"),
    ("disappointed", "disappointment"),
)
_CANONICAL = {word: row[0] for row in _SAME for word in row}


def canonical(word: str) -> str:
    """One spelling for all names of an expression, e.g. ``"surprised"`` for ``"Surprise"``; others in lower case."""
    plain = " ".join(word.lower().replace("_", " ").replace("-", " ").split())
    return _CANONICAL.get(plain, plain)


def position(word: str, names: Sequence[str]) -> int | None:
    """Where ``names`` has the expression that ``word`` names, whatever the spelling; None if it has not."""
    spelt = [canonical(name) for name in names]
    return spelt.index(canonical(word)) if canonical(word) in spelt else None
