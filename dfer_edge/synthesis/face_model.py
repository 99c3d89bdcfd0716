"""The ICT-FaceKit light morphable face: neutral mesh, 100 identity modes and 55 to 57 expression shapes (MIT licence).

Two forms are read: the folder ``FaceXModel`` of the published repository (``generic_neutral_mesh.obj``,
``identity000.obj`` ..., one OBJ file a shape), or one ``.npz`` with the same content. Vertex ranges are those of the
repository's README.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfer_edge.errors import CorruptArtifact, SourceNotFound
from dfer_edge.synthesis.action_units import missing_shapes
from dfer_edge.synthesis.obj import read_folder
from dfer_edge.synthesis.recipes import SHIFTS
from dfer_edge.system import settings

HINT = (
    "get https://github.com/ICT-VGL/ICT-FaceKit and name its FaceXModel folder in DFER_EDGE_FACE_MODEL, "
    "or an .npz of the same content"
)

# Material numbers of the renderer (csrc/synthesis/synthesis.h).
SKIN, LEFT_EYE, RIGHT_EYE, LASH, GUM, TEETH, SOCKET, ACCESSORY, CLOTH = range(9)

# First vertex of each part and the end, from the README of the model.
VERTICES = 26719
HEAD = slice(0, 11248)
SOCKETS = slice(11248, 14062)
MOUTH_SOCKET = slice(11248, 13294)
LEFT_SCLERA = (21451, 22221)
RIGHT_SCLERA = (23021, 23791)

_MATERIALS = {
    "M_Face": SKIN,
    "M_BackHead": SKIN,
    "M_GumsTongue": GUM,
    "M_Teeth": TEETH,
    "M_ScleraLeft": LEFT_EYE,
    "M_ScleraRight": RIGHT_EYE,
    "M_EyeLashes": LASH,
}
# The iris mesh lies inside the sclera mesh and the fluid and blend meshes are films: irises are painted instead.
_HIDDEN_TEETH_Z_CM = 6.5
_HIDDEN_EYE_Z_CM = 8.2


@dataclass(frozen=True)
class FaceModel:
    """The parts of the model that are drawn.

    Attributes
    ----------
    neutral
        float32 [V, 3], cm; x to the subject's left, y up, z forward.
    identity
        float32 [N, V * 3], one unit is one standard deviation.
    shape_names
        Names of the expression shapes, e.g. ``mouthSmile_L``.
    expression
        float32 [K, V, 3].
    triangles, materials
        int32 [F, 3] counter-clockwise from outside, uint8 [F].
    landmarks
        int64 [68] vertices in iBUG order.
    skin
        bool [V]: vertices of face, head and neck.
    eyes
        int32 [4]: first and last + 1 vertex of the left, then the right eyeball.
    openness
        float32 [V]: 1 outside, falling to 0 deep in the mouth.
    """

    neutral: np.ndarray
    identity: np.ndarray
    shape_names: tuple[str, ...]
    expression: np.ndarray
    triangles: np.ndarray
    materials: np.ndarray
    landmarks: np.ndarray
    skin: np.ndarray
    eyes: np.ndarray
    openness: np.ndarray

    @functools.cached_property
    def shape_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.shape_names)}

    def vertices_of(self, material: int) -> np.ndarray:
        """Vertices of the triangles of one material; int64 [N]."""
        return self._by_material[material]

    @functools.cached_property
    def _by_material(self) -> dict[int, np.ndarray]:
        return {number: np.unique(self.triangles[self.materials == number]) for number in range(ACCESSORY)}


def load_face_model(path: str | Path | None = None) -> FaceModel:
    """Load the model.

    Parameters
    ----------
    path
        The folder of OBJ files or an ``.npz``; None takes the environment variable ``DFER_EDGE_FACE_MODEL``.

    Raises
    ------
    SourceNotFound
        Nothing is named, or nothing is there.
    CorruptArtifact
        A file is missing from the folder, is truncated, or has another topology.
    """
    named = Path(path) if path is not None else settings.face_model_path()
    if named is None:
        raise SourceNotFound("expected a face model, none is named", HINT)
    named = named.expanduser()
    if not named.exists():
        raise SourceNotFound(f"expected a face model at {named}, found nothing", HINT)
    return _load(named.resolve(), named.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _load(path: Path, _changed: int) -> FaceModel:
    raw = read_folder(path) if path.is_dir() else _read_npz(path)
    return _assemble(raw, path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    names = ("neutral", "identity", "expression", "expression_names", "faces", "face_material", "material_names")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (*names, "landmarks68")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptArtifact(f"expected an .npz of the face model, cannot read {path}: {error}", HINT) from error


def _check(raw: dict[str, np.ndarray], path: Path) -> None:
    expected = {
        "vertices": (raw["neutral"].shape, (VERTICES, 3)),
        "identity": (raw["identity"].shape[1:], (VERTICES, 3)),
        "expression": (raw["expression"].shape[1:], (VERTICES, 3)),
        "landmarks": (raw["landmarks68"].shape, (68,)),
        "shape names": (len(raw["expression_names"]), len(raw["expression"])),
        "polygons": (raw["faces"].shape[1:], (4,)),
        "polygon materials": (raw["face_material"].shape, raw["faces"].shape[:1]),
    }
    for what, (got, want) in expected.items():
        if got != want:
            raise CorruptArtifact(f"expected the light face model, {what}: {want}; {path} has {got}", HINT)
    for name, lowest, end in (
        ("landmarks68", 0, VERTICES),
        ("faces", -1, VERTICES),
        ("face_material", 0, len(raw["material_names"])),
    ):
        values = raw[name]
        if not (len(values) and values.dtype.kind in "iu" and lowest <= values.min() <= values.max() < end):
            raise CorruptArtifact(f"expected whole numbers from {lowest} to {end - 1} as {name} in {path}", HINT)
    if (raw["faces"][:, :3] < 0).any():
        raise CorruptArtifact(f"expected at least three corners in each of faces in {path}", HINT)
    if missing := missing_shapes({str(name) for name in raw["expression_names"]}, SHIFTS):
        raise CorruptArtifact(f"expected expression shapes with {missing[0]}, {path} has none", HINT)
    if not {"M_Face", "M_ScleraLeft", "M_ScleraRight"} <= {str(name) for name in raw["material_names"]}:
        raise CorruptArtifact(f"expected polygons of face and eyes with their materials in {path}", HINT)
    if not all(np.isfinite(raw[name]).all() for name in ("neutral", "identity", "expression")):
        raise CorruptArtifact(f"expected finite vertices in {path}", HINT)


def _assemble(raw: dict[str, np.ndarray], path: Path) -> FaceModel:
    _check(raw, path)
    neutral = raw["neutral"].astype(np.float32)
    names = [str(name) for name in raw["material_names"]]
    number = np.array([_MATERIALS.get(name, -1) for name in names])[raw["face_material"]]
    faces = raw["faces"]
    deep = neutral[faces[:, 0], 2]
    keep = number >= 0
    keep &= ~(np.isin(number, (GUM, TEETH)) & (deep < _HIDDEN_TEETH_Z_CM))
    keep &= ~(np.isin(number, (LEFT_EYE, RIGHT_EYE)) & (deep < _HIDDEN_EYE_Z_CM))
    faces, number = faces[keep], number[keep]
    number = np.where((number == SKIN) & _inside(faces[:, 0], SOCKETS), SOCKET, number)
    quads = faces[:, 3] >= 0
    triangles = np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]])
    materials = np.concatenate([number, number[quads]]).astype(np.uint8)

    used = np.union1d(np.unique(triangles), raw["landmarks68"])
    renumber = np.full(VERTICES, -1, np.int32)
    renumber[used] = np.arange(len(used), dtype=np.int32)
    eyes = [end for ends in (LEFT_SCLERA, RIGHT_SCLERA) for end in np.searchsorted(used, ends)]
    return FaceModel(
        neutral=np.ascontiguousarray(neutral[used]),
        identity=np.ascontiguousarray(raw["identity"][:, used].reshape(len(raw["identity"]), -1), np.float32),
        shape_names=tuple(str(name) for name in raw["expression_names"]),
        expression=np.ascontiguousarray(raw["expression"][:, used], np.float32),
        triangles=np.ascontiguousarray(renumber[triangles]),
        materials=materials,
        landmarks=renumber[raw["landmarks68"]].astype(np.int64),
        skin=_inside(used, HEAD),
        eyes=np.array(eyes, np.int32),
        openness=_openness(neutral, used),
    )


def _inside(vertices: np.ndarray, part: slice) -> np.ndarray:
    return np.asarray((vertices >= part.start) & (vertices < part.stop))


def _openness(neutral: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Light reaches the front teeth and little of what lies behind them."""
    open_ = np.ones(VERTICES, np.float32)
    mouth = np.r_[MOUTH_SOCKET, 14062:21451]
    depth = np.clip((neutral[mouth, 2] - 6.0) / 4.5, 0.0, 1.0)
    open_[mouth] = 0.06 + 0.94 * depth**1.5
    return np.asarray(open_[used])
