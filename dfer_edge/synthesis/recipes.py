"""Expressions as data: FACS prototypes of each emotion, several each, and the many faces of neutral.

A variant has units that are always there, units that are there at times, and habits of head and gaze. Numbers are
intensities in 0..1.3 at the apex, before the clip's own intensity scales them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dfer_edge.labels import RENDERED

Range = tuple[float, float]

CLASSES = RENDERED


@dataclass(frozen=True)
class Variant:
    """One way to show an emotion.

    Attributes
    ----------
    weight
        How often it is drawn, among the variants of its emotion.
    units
        AU -> lowest and highest intensity.
    optional
        AU -> probability, lowest and highest intensity.
    head_down, gaze_away
        Probability that head and gaze sink, and that the head turns away.
    speech
        Amount of mouth motion as in speech, 0 to 1.
    one_sided
        The units act on one side of the face.
    """

    weight: float
    units: dict[int, Range] = field(default_factory=dict)
    optional: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    head_down: float = 0.06
    gaze_away: float = 0.0
    speech: float = 0.0
    one_sided: bool = False


HAPPY = (
    Variant(
        3,
        {6: (0.4, 1), 12: (0.7, 1.25)},
        {10: (0.7, 0.15, 0.5), 16: (0.6, 0.1, 0.5), 26: (0.6, 0.05, 0.3), 7: (0.3, 0.1, 0.5), 25: (0.8, 0.4, 1)},
    ),
    Variant(2, {12: (0.5, 1.0)}, {6: (0.5, 0.1, 0.6), 14: (0.2, 0.1, 0.4)}),
    # Laughing: the lids close and the jaw drops, the brows stay.
    Variant(
        2,
        {6: (0.6, 1.1), 12: (0.8, 1.25), 26: (0.2, 0.6)},
        {10: (0.7, 0.2, 0.6), 16: (0.6, 0.1, 0.5), 25: (0.5, 0.4, 1), 43: (0.35, 0.3, 0.9), 7: (0.5, 0.2, 0.8)},
    ),
    # Delighted: raised brows over a broad smile.
    Variant(
        1.5,
        {12: (0.65, 1.1), 1: (0.2, 0.7), 2: (0.2, 0.8)},
        {5: (0.35, 0.1, 0.5), 6: (0.7, 0.3, 0.9), 26: (0.6, 0.1, 0.4), 10: (0.5, 0.1, 0.5), 16: (0.4, 0.1, 0.4)},
    ),
    Variant(0.7, {12: (0.5, 0.9), 6: (0.3, 0.8)}, {26: (0.5, 0.05, 0.2)}, speech=0.7),
)
SAD = (
    Variant(
        2,
        {1: (0.6, 1.2), 4: (0.3, 0.8), 15: (0.4, 1.1)},
        {17: (0.6, 0.2, 0.8), 43: (0.5, 0.1, 0.5), 7: (0.2, 0.1, 0.4)},
        head_down=0.4,
    ),
    Variant(
        3,
        {1: (0.6, 1.3), 4: (0.3, 0.9)},
        {15: (0.5, 0.1, 0.6), 17: (0.3, 0.1, 0.4), 43: (0.5, 0.1, 0.5), 26: (0.2, 0.03, 0.12), 64: (0.3, 0.3, 0.8)},
        head_down=0.4,
    ),
    # Downcast: lids and head down, brows drawn.
    Variant(
        2.5,
        {4: (0.25, 0.8), 43: (0.3, 1.0)},
        {1: (0.8, 0.4, 1.1), 15: (0.65, 0.2, 0.9), 17: (0.4, 0.1, 0.6), 7: (0.2, 0.1, 0.4)},
        head_down=0.85,
    ),
    Variant(
        1.5,
        {15: (0.5, 1.2), 17: (0.3, 1.0)},
        {1: (0.6, 0.3, 0.9), 43: (0.5, 0.1, 0.5), 64: (0.3, 0.2, 0.7)},
        head_down=0.5,
    ),
    # Crying.
    Variant(
        1,
        {1: (0.5, 1.1), 4: (0.4, 1.0), 6: (0.3, 0.8), 20: (0.3, 0.8)},
        {
            15: (0.6, 0.3, 0.9),
            10: (0.4, 0.1, 0.4),
            16: (0.5, 0.2, 0.6),
            26: (0.6, 0.05, 0.3),
            43: (0.6, 0.4, 1),
            7: (0.5, 0.3, 0.9),
            25: (0.5, 0.3, 1),
        },
        head_down=0.3,
    ),
    Variant(
        0.8,
        {64: (0.5, 1.0), 1: (0.4, 1.0)},
        {4: (0.5, 0.2, 0.6), 15: (0.6, 0.2, 0.8), 43: (0.6, 0.2, 0.5)},
        head_down=1.0,
    ),
)
ANGRY = (
    # Lips closed: pressed, tightened.
    Variant(
        2.5,
        {4: (0.6, 1.3), 7: (0.3, 1.0)},
        {5: (0.4, 0.2, 0.8), 23: (0.6, 0.3, 1), 24: (0.4, 0.3, 1), 17: (0.4, 0.2, 0.7), 9: (0.2, 0.05, 0.25)},
    ),
    # Shouting: the jaw far down and the lips apart, the nose mostly smooth; a wrinkled nose belongs to disgust.
    Variant(
        2.5,
        {4: (0.85, 1.35), 26: (0.45, 0.95), 10: (0.2, 0.9), 16: (0.4, 1.0)},
        {
            7: (0.6, 0.2, 0.8),
            5: (0.4, 0.3, 1),
            9: (0.45, 0.1, 0.5),
            10: (0.75, 0.3, 0.9),
            16: (0.8, 0.3, 1),
            20: (0.5, 0.2, 0.8),
            22: (0.25, 0.1, 0.5),
            25: (0.5, 0.5, 1),
        },
    ),
    Variant(
        1.5,
        {4: (0.6, 1.3), 26: (0.2, 0.5), 7: (0.3, 1.0)},
        {10: (0.6, 0.2, 0.7), 16: (0.7, 0.3, 0.9), 5: (0.3, 0.2, 0.7), 9: (0.3, 0.1, 0.4), 22: (0.35, 0.2, 0.6)},
        speech=0.6,
    ),
    # Bared teeth.
    Variant(
        1.7,
        {4: (0.8, 1.3), 10: (0.3, 0.8), 16: (0.5, 1.0), 20: (0.1, 0.5)},
        {9: (0.5, 0.1, 0.5), 7: (0.7, 0.3, 1), 26: (0.6, 0.05, 0.25), 5: (0.25, 0.2, 0.6)},
    ),
    Variant(
        1.5,
        {4: (0.6, 1.3), 5: (0.3, 0.9)},
        {7: (0.5, 0.3, 0.8), 26: (0.3, 0.05, 0.2), 23: (0.4, 0.2, 0.8), 24: (0.3, 0.2, 0.8)},
    ),
    Variant(0.8, {4: (0.7, 1.3), 7: (0.3, 0.9)}, {23: (0.5, 0.3, 1), 15: (0.2, 0.1, 0.4)}, head_down=0.9),
)
SURPRISE = (
    Variant(
        3,
        {1: (0.5, 1.2), 2: (0.6, 1.2), 5: (0.4, 1.2), 26: (0.2, 0.9)},
        {22: (0.3, 0.1, 0.4), 10: (0.15, 0.1, 0.3), 25: (0.4, 0.2, 0.8)},
    ),
    Variant(1, {1: (0.6, 1.2), 2: (0.6, 1.2), 5: (0.5, 1.2)}, {26: (0.5, 0.02, 0.15), 22: (0.2, 0.1, 0.3)}),
    Variant(
        1.5,
        {5: (0.4, 1.1), 26: (0.3, 0.85)},
        {1: (0.6, 0.2, 0.7), 2: (0.5, 0.2, 0.7), 22: (0.4, 0.1, 0.5), 18: (0.15, 0.1, 0.4)},
    ),
    Variant(1, {1: (0.5, 1.1), 2: (0.5, 1.1), 26: (0.2, 0.7)}, {5: (0.6, 0.2, 0.7)}),
    # Laughing surprise: eyes wide and brows high over an open mouth, the corners only slightly up, no raised cheeks.
    Variant(
        1.3, {1: (0.6, 1.2), 2: (0.6, 1.2), 5: (0.5, 1.2), 26: (0.25, 0.8), 12: (0.15, 0.55)}, {10: (0.3, 0.1, 0.3)}
    ),
    # Startled: brows raised and a little drawn over a dropped jaw. The stretched lips of fear are missing.
    Variant(
        2,
        {1: (0.5, 1.2), 2: (0.3, 1.0), 4: (0.1, 0.5), 26: (0.25, 0.8)},
        {5: (0.7, 0.3, 1.0), 22: (0.3, 0.1, 0.4), 25: (0.3, 0.2, 0.7), 10: (0.2, 0.1, 0.3), 16: (0.2, 0.1, 0.4)},
    ),
)
DISGUST = (
    Variant(
        2,
        {9: (0.7, 1.2)},
        {10: (0.7, 0.3, 0.9), 4: (0.35, 0.1, 0.4), 7: (0.5, 0.3, 0.9), 17: (0.4, 0.2, 0.8), 6: (0.3, 0.2, 0.6)},
        gaze_away=0.25,
    ),
    Variant(
        1.5,
        {10: (0.6, 1.2), 9: (0.4, 1.0)},
        {15: (0.5, 0.3, 0.9), 17: (0.5, 0.3, 0.9), 4: (0.2, 0.1, 0.3), 7: (0.5, 0.2, 0.8)},
        gaze_away=0.25,
    ),
    Variant(
        1,
        {9: (0.7, 1.2), 10: (0.5, 1.0), 16: (0.3, 0.8)},
        {26: (0.4, 0.05, 0.2), 20: (0.3, 0.2, 0.4), 7: (0.6, 0.3, 0.9), 43: (0.3, 0.2, 0.5)},
        gaze_away=0.4,
    ),
    # The upper lip curls, the chin comes up.
    Variant(
        0.8,
        {10: (0.5, 1.1), 17: (0.4, 1.0)},
        {9: (0.6, 0.2, 0.7), 15: (0.6, 0.2, 0.7), 7: (0.4, 0.2, 0.6)},
        gaze_away=0.4,
    ),
)
# Lips stretched aside, or closed under raised and drawn brows: an open mouth alone is surprise.
FEAR = (
    Variant(
        2,
        {1: (0.6, 1.2), 2: (0.3, 0.9), 4: (0.4, 0.9), 5: (0.5, 1.2), 20: (0.55, 1.2)},
        {26: (0.7, 0.1, 0.5), 16: (0.5, 0.2, 0.7), 25: (0.6, 0.3, 1)},
    ),
    Variant(
        1,
        {1: (0.6, 1.2), 4: (0.5, 1.0), 5: (0.6, 1.2)},
        {2: (0.5, 0.2, 0.7), 26: (0.3, 0.03, 0.12), 20: (0.5, 0.3, 0.8), 25: (0.3, 0.1, 0.5)},
    ),
    Variant(
        1,
        {5: (0.6, 1.2), 20: (0.6, 1.3), 26: (0.15, 0.5), 1: (0.4, 1.0), 4: (0.3, 0.8)},
        {16: (0.6, 0.2, 0.8), 2: (0.4, 0.2, 0.6)},
        gaze_away=0.2,
    ),
)
NEUTRAL = (
    Variant(4),
    Variant(2, {}, {26: (0.5, 0.03, 0.2), 43: (0.3, 0.1, 0.6), 7: (0.3, 0.1, 0.5)}),
    Variant(1.5, {}, {26: (0.5, 0.03, 0.15), 16: (0.3, 0.1, 0.3)}, speech=1.0),
    Variant(0.7, {43: (0.5, 1.0)}, {}),
    Variant(
        0.8,
        {},
        {
            1: (0.3, 0.05, 0.3),
            2: (0.3, 0.05, 0.3),
            4: (0.4, 0.05, 0.3),
            12: (0.3, 0.03, 0.2),
            15: (0.3, 0.05, 0.25),
            17: (0.3, 0.05, 0.25),
            24: (0.3, 0.1, 0.4),
            7: (0.3, 0.1, 0.4),
        },
    ),
    # Reading or thinking: eyes and head down without sorrow; a steady gaze with heavy brows without anger.
    Variant(0.9, {64: (0.4, 0.9)}, {43: (0.4, 0.1, 0.3)}, head_down=1.0),
    Variant(0.5, {}, {4: (1.0, 0.1, 0.35), 24: (0.3, 0.1, 0.4)}, head_down=0.3),
)
CONTEMPT = (
    Variant(2, {12: (0.3, 0.9), 14: (0.4, 1.1)}, {43: (0.3, 0.1, 0.35), 2: (0.25, 0.2, 0.6)}, one_sided=True),
    Variant(1, {14: (0.5, 1.2)}, {10: (0.3, 0.1, 0.5), 17: (0.3, 0.1, 0.4), 43: (0.3, 0.1, 0.35)}, one_sided=True),
)

# In the order of CLASSES.
RECIPES = (HAPPY, SAD, NEUTRAL, ANGRY, SURPRISE, DISGUST, FEAR, CONTEMPT)

# Units that appear for no reason, and at most how strongly.
DISTRACTORS = (1, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 18, 20, 22, 24, 26)
DISTRACTOR_LIMIT = 0.2
# Shapes outside FACS prototypes: mouth and jaw to one side or forward.
SHIFTS = ("mouthLeft", "mouthRight", "jawLeft", "jawRight", "jawForward")
