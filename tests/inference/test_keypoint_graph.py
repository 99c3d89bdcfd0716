"""The facial graph of keypoint_tsa: nodes, edges, mirror map, gaps in the landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.keypoint_graph import (
    BRIDGE,
    EDGES,
    GROUPS,
    MIRROR_NODES,
    MIRROR_POINTS,
    adjacency,
    fill_missing,
    links,
    mean_shape,
    mirror,
    selection,
)

# Counterparts in dlib's layout, at least one of every part of the face.
COUNTERPARTS = [(0, 16), (8, 8), (3, 13), (17, 26), (19, 24), (21, 22), (27, 27), (30, 30), (31, 35), (32, 34)]
COUNTERPARTS += [(36, 45), (39, 42), (37, 44), (41, 46), (48, 54), (50, 52), (59, 55), (57, 57), (60, 64), (67, 65)]


def test_adjacency_is_invariant_under_the_mirror() -> None:
    nodes = list(MIRROR_NODES)
    assert MIRROR_NODES == (7, 6, 5, 9, 8, 2, 1, 0, 4, 3, 10, 11, 14, 13, 12, 15, 17, 16)
    for self_loop in (False, True):
        matrix = adjacency(self_loop)
        assert np.array_equal(matrix[np.ix_(nodes, nodes)], matrix)


def test_adjacency_rows_are_means_over_neighbours() -> None:
    matrix = links(False)
    assert len({frozenset(edge) for edge in EDGES}) == 26
    assert matrix.sum() == 2 * 26
    assert np.array_equal(matrix, matrix.T)
    assert np.trace(matrix) == 0
    assert np.array_equal(links(True) - matrix, np.eye(18))
    assert np.allclose(adjacency().sum(1), 1, rtol=0, atol=1e-15)
    assert np.array_equal(adjacency() > 0, matrix > 0)


def test_groups_hold_every_node_but_the_bridge() -> None:
    assert [len(group) for group in GROUPS] == [5, 5, 6]
    assert sorted([*BRIDGE, *(node for group in GROUPS for node in group)]) == list(range(18))


def test_points_mirror_onto_their_counterparts() -> None:
    assert sorted(MIRROR_POINTS) == list(range(68))
    assert [MIRROR_POINTS[point] for point in MIRROR_POINTS] == list(range(68))
    for left, right in COUNTERPARTS:
        assert (MIRROR_POINTS[left], MIRROR_POINTS[right]) == (right, left)


def test_nodes_of_a_mirrored_face_are_permuted(rng: np.random.Generator) -> None:
    landmarks = rng.uniform(-10, 120, (3, 68, 2))
    flipped = mirror(landmarks, 112)
    expected = (selection() @ landmarks)[:, list(MIRROR_NODES)]
    expected[..., 0] = 111 - expected[..., 0]
    assert np.allclose(selection() @ flipped, expected, rtol=0, atol=1e-12)
    assert np.allclose(mirror(flipped, 112), landmarks, rtol=0, atol=1e-12)


def test_mean_shape_is_an_upright_symmetric_face() -> None:
    shape = mean_shape()
    assert shape.shape == (68, 2)
    assert np.allclose(mirror(shape * 112 - 0.5, 112), shape * 112 - 0.5, rtol=0, atol=1e-12)
    assert (shape >= 0).all()
    assert (shape <= 1).all()
    brow, eye, nose, mouth, chin = (shape[part, 1].mean() for part in ([19, 24], [36, 45], [33], [48, 54], [8]))
    assert brow < eye < nose < mouth < chin
    # Numbers rise from the image's left to its right along jaw and brows; upper lip above lower lip.
    assert (np.diff(shape[:17, 0]) > 0).all()
    assert (np.diff(shape[17:27, 0]) > 0).all()
    assert shape[36, 0] < shape[39, 0] < shape[42, 0] < shape[45, 0]
    assert shape[51, 1] < shape[62, 1] < shape[66, 1] < shape[57, 1]
    assert shape[37, 1] < shape[41, 1]


def test_gaps_repeat_the_last_face(rng: np.random.Generator) -> None:
    landmarks = rng.uniform(0, 112, (6, 68, 2)).astype(np.float32)
    gaps = landmarks.copy()
    gaps[[0, 3, 4]] = np.nan
    gaps[5, 7, 1] = np.nan
    before = gaps.copy()
    filled = fill_missing(gaps, 112)
    assert np.array_equal(gaps, before, equal_nan=True)
    assert filled.dtype == np.float32
    assert np.allclose(filled[0], mean_shape() * 112 - 0.5, rtol=0, atol=1e-4)
    assert np.array_equal(filled[1:3], landmarks[1:3])
    for frame in (3, 4, 5):
        assert np.array_equal(filled[frame], landmarks[2])
    with pytest.raises(InvalidInput, match=r"\[T, 68, 2\], got \[68, 2\]"):
        fill_missing(landmarks[0], 112)
