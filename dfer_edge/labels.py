"""Label sets of the field, in the class order of each data set."""

from __future__ import annotations

# Class order of DFEW and FERV39k, printed in paper 000 and used by papers 003 and 004.
DFEW = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")

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
