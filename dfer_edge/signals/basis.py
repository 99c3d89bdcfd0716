"""The shapes that are fitted: a few points of the ICT-FaceKit face with identity and action unit modes (MIT, NOTICE).

:mod:`dfer_edge.signals.build` makes the file from the face model, which itself does not ship.
"""

from __future__ import annotations

import dataclasses
import functools
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact

SHIPPED = Path(__file__).parents[1] / "assets" / "expression68.npz"
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Basis:
    """P of the 68 points in three dimensions, in units of s of :func:`dfer_edge.faces.aligned.face_frame`.

    Axes as in the face model: x to the subject's left, y up, z forward; the origin lies between eyes and mouth.

    Attributes
    ----------
    points
        int64 [P]: which of the 68.
    mean
        [P, 3]: the mean face without expression.
    names
        K names of action units, e.g. ``AU12``; a name that begins with ``_`` is fitted, so that it is taken for no
        other, and not reported.
    units
        [K, P, 3]: how the points move at intensity 1.
    identity
        [N, P, 3]: one unit is one standard deviation among people.
    """

    points: npt.NDArray[np.int64]
    mean: Floats
    names: tuple[str, ...]
    units: Floats
    identity: Floats

    @property
    def reported(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not name.startswith("_"))


@functools.lru_cache(maxsize=1)
def load_basis(path: Path = SHIPPED) -> Basis:
    """Read the file.

    Raises
    ------
    CorruptArtifact
        If it is absent, does not read or its shapes do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            basis = Basis(
                file["points"].astype(np.int64),
                file["mean"].astype(np.float64),
                tuple(str(name) for name in file["names"]),
                file["units"].astype(np.float64),
                file["identity"].astype(np.float64),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifact(f"expected the shapes of action units in {path}: {error}") from error
    shape = (len(basis.points), 3)
    whole = basis.mean.shape == basis.units.shape[1:] == basis.identity.shape[1:] == shape
    if not whole or len(basis.names) != len(basis.units):
        raise CorruptArtifact(f"expected shapes of {len(basis.points)} points in {path}, they do not fit together")
    return basis
