"""Reads the published folder of the face model: Wavefront OBJ files of one topology."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfer_edge.errors import CorruptArtifact

NEUTRAL = "generic_neutral_mesh.obj"

# Multi-PIE 68 points (iBUG order) as vertices, from the README of ICT-FaceKit.
LANDMARKS = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147),
    *(4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081),
    *(0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)


def read_vertices(path: Path) -> np.ndarray:
    """Vertices of an OBJ file.

    Returns
    -------
    float32 [V, 3]

    Raises
    ------
    CorruptArtifact
        No file, or a line that is not three numbers.
    """
    try:
        lines = [line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("v ")]
        return np.loadtxt(lines, np.float32, usecols=(1, 2, 3), ndmin=2) if lines else np.empty((0, 3), np.float32)
    except (OSError, ValueError) as error:
        raise CorruptArtifact(f"expected an OBJ file at {path}: {error}") from error


def read_polygons(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Polygons of an OBJ file: int32 [F, 4] with -1 as the fourth corner of triangles, material [F], names."""
    names: list[str] = []
    corners: list[list[int]] = []
    materials: list[int] = []
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "usemtl":
                name = rest.strip()
                if name not in names:
                    names.append(name)
                current = names.index(name)
            elif kind == "f":
                polygon = [int(corner.split("/")[0]) - 1 for corner in rest.split()]
                if len(polygon) not in (3, 4) or min(polygon) < 0:
                    raise ValueError(f"a polygon of {len(polygon)} corners: {line!r}")
                corners.append(polygon if len(polygon) == 4 else [*polygon, -1])
                materials.append(current)
    except (OSError, ValueError, UnboundLocalError) as error:
        raise CorruptArtifact(f"expected polygons with materials in {path}: {error}") from error
    return np.array(corners, np.int32).reshape(-1, 4), np.array(materials, np.int64), names


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """All shapes of the published folder, as differences from the neutral mesh.

    Raises
    ------
    CorruptArtifact
        The neutral mesh, identity modes or expression shapes are missing, or a file has another number of vertices.
    """
    if not (folder / NEUTRAL).is_file():
        archives = sorted(folder.glob("*.npz"))
        hint = f"or name the archive: {archives[0]}" if archives else ""
        raise CorruptArtifact(f"expected {NEUTRAL} in {folder}, found none", hint)
    neutral = read_vertices(folder / NEUTRAL)
    faces, material, names = read_polygons(folder / NEUTRAL)
    others = sorted(path for path in folder.glob("*.obj") if path.name != NEUTRAL)
    identity = [path for path in others if path.stem.startswith("identity")]
    expression = [path for path in others if not path.stem.startswith("identity")]
    if not identity or not expression:
        raise CorruptArtifact(
            f"expected identity and expression shapes in {folder}, found {len(identity)} and {len(expression)}"
        )

    def differences(paths: list[Path]) -> np.ndarray:
        out = np.empty((len(paths), *neutral.shape), np.float32)
        for row, path in zip(out, paths, strict=True):
            vertices = read_vertices(path)
            if vertices.shape != neutral.shape:
                raise CorruptArtifact(f"expected {len(neutral)} vertices in {path}, found {len(vertices)}")
            np.subtract(vertices, neutral, out=row)
        return out

    return {
        "neutral": neutral,
        "identity": differences(identity),
        "expression": differences(expression),
        "expression_names": np.array([path.stem for path in expression]),
        "faces": faces,
        "face_material": material,
        "material_names": np.array(names),
        "landmarks68": np.array(LANDMARKS, np.int64),
    }
