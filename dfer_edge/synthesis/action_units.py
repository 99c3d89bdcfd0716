"""FACS action units as combinations of the model's expression shapes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

# Order of AU curves. 26 is the jaw as a whole (26 parts, 27 stretches it); 43 closes the lids; 63 and 64 move gaze and
# lids.
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 28, 43, 63, 64)
AU_NAMES = tuple(f"AU{unit}" for unit in ACTION_UNITS)
AU_INDEX = {unit: index for index, unit in enumerate(ACTION_UNITS)}

# Unit -> (shape, weight at intensity 1). A shape without a side is driven by the mean of both sides.
# After the table of ICT-FaceKit; weights of 4, 6, 10 and 23 were set by eye, browDown being weak by itself.
SHAPES: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("browInnerUp", 1.0),),
    2: (("browOuterUp", 1.0),),
    4: (("browDown", 1.8), ("browInnerUp", -0.3), ("eyeSquint", 0.15)),
    5: (("eyeWide", 1.15),),
    6: (("cheekSquint", 1.0), ("cheekRaiser", 0.5), ("eyeSquint", 0.35)),
    7: (("eyeSquint", 1.1),),
    9: (("noseSneer", 1.0),),
    10: (("mouthUpperUp", 0.9),),
    11: (("mouthUpperUp", 0.5), ("cheekSquint", 0.3)),
    12: (("mouthSmile", 1.0),),
    14: (("mouthDimple", 1.0),),
    15: (("mouthFrown", 1.0),),
    16: (("mouthLowerDown", 1.0),),
    17: (("mouthShrugLower", 1.0),),
    18: (("mouthPucker", 1.0),),
    20: (("mouthStretch", 1.0),),
    22: (("mouthFunnel", 1.0),),
    23: (("mouthPress", 0.8), ("mouthRollLower", 0.25), ("mouthRollUpper", 0.25)),
    24: (("mouthPress", 1.0), ("mouthShrugLower", 0.2)),
    25: (("mouthLowerDown", 0.3), ("mouthUpperUp", 0.22)),
    26: (("jawOpen", 1.0),),
    28: (("mouthRollLower", 0.8), ("mouthRollUpper", 0.8)),
    43: (("eyeBlink", 1.0),),
    63: (("eyeLookUp", 1.0),),
    64: (("eyeLookDown", 1.0),),
}

# The largest intensities that the mesh takes without folding.
_CEILING = 1.35
_CLOSED_LID = AU_INDEX[43]


def shape_matrix(shape_names: Sequence[str]) -> np.ndarray:
    """Weights of shapes for each unit and side.

    Returns
    -------
    float32 [n_AU * 2, K], rows in the order AU1 left, AU1 right, AU2 left, ...
    """
    index = {name: column for column, name in enumerate(shape_names)}
    matrix = np.zeros((len(ACTION_UNITS), 2, len(shape_names)), np.float32)
    for row, unit in enumerate(ACTION_UNITS):
        for shape, weight in SHAPES[unit]:
            for side, suffix in enumerate(("_L", "_R")):
                if shape + suffix in index:
                    matrix[row, side, index[shape + suffix]] += weight
                elif shape in index:
                    matrix[row, side, index[shape]] += 0.5 * weight
    return matrix.reshape(2 * len(ACTION_UNITS), -1)


def missing_shapes(shape_names: Collection[str], more: Collection[str] = ()) -> list[str]:
    """Shapes of action units, and ``more``, that a model does not have, neither as a whole nor for both sides."""
    needed = {shape for parts in SHAPES.values() for shape, _ in parts} | set(more)
    there = {name for name in needed if name in shape_names or {f"{name}_L", f"{name}_R"} <= set(shape_names)}
    return sorted(needed - there)


def shape_weights(units: np.ndarray, matrix: np.ndarray, shape_names: Sequence[str]) -> np.ndarray:
    """Shape weights of AU intensities.

    Parameters
    ----------
    units
        float [T, n_AU, 2]: intensity of the left and right side, 0 to about 1.3.
    matrix
        Of :func:`shape_matrix`.

    Returns
    -------
    float32 [T, K]
    """
    units = np.clip(units, 0.0, _CEILING).astype(np.float32)
    closed = np.clip(units[:, _CLOSED_LID], 0.0, 1.0)
    # A lid that is closed can neither be wide nor follow the gaze further down, and a squint over it would cross.
    units[:, _CLOSED_LID] = closed
    units[:, AU_INDEX[5]] *= 1.0 - closed
    units[:, AU_INDEX[64]] = np.minimum(units[:, AU_INDEX[64]], (1.0 - closed) / 0.8)
    units[:, AU_INDEX[7]] *= 1.0 - 0.7 * closed
    weights = units.reshape(len(units), -1) @ matrix
    for side in ("_L", "_R"):
        if f"eyeSquint{side}" in shape_names:
            column = list(shape_names).index(f"eyeSquint{side}")
            weights[:, column] = np.minimum(weights[:, column], 1.3)
    return np.asarray(weights, np.float32)
