"""The z-buffer against an independent rasteriser in numpy, and its edges."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge.synthesis.native import NATIVE

FAR = -1e8


def reference(screen: np.ndarray, triangles: np.ndarray, width: int, height: int, both_sides: bool = False):
    """Signed areas in float64, all pixels at once; also how close each pixel is to an edge."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    depth, ids = np.full((height, width), -1e9), np.full((height, width), -1)
    margin = np.full((height, width), np.inf)
    for number, corners in enumerate(triangles):
        a, b, c = screen[corners].astype(np.float64)

        def area(p, q, px, py):
            return (q[0] - p[0]) * (py - p[1]) - (q[1] - p[1]) * (px - p[0])

        whole = area(a, b, c[0], c[1])
        if whole == 0 or (whole > 0 and not both_sides):
            continue
        weights = np.stack([area(b, c, x, y), area(c, a, x, y), area(a, b, x, y)]) / whole
        margin = np.minimum(margin, np.abs(weights).min(axis=0))
        z = np.tensordot([a[2], b[2], c[2]], weights, axes=1)
        nearer = (weights >= 0).all(axis=0) & (z > depth)
        depth[nearer], ids[nearer] = z[nearer], number
    return depth, ids, margin


def _agree(screen, triangles, width, height, both_sides=False):
    screen, triangles = np.asarray(screen, np.float32), np.asarray(triangles, np.int32)
    depth, ids, _ = NATIVE.raster(screen, triangles, width, height, both_sides)
    want_depth, want_ids, margin = reference(screen, triangles, width, height, both_sides)
    clear = margin > 1e-4  # on an edge, rounding may choose either side
    np.testing.assert_array_equal(ids[clear], want_ids[clear])
    drawn = clear & (want_ids >= 0)
    np.testing.assert_allclose(depth[drawn], want_depth[drawn], atol=2e-3)
    return ids


# A screen's y goes down: this order is counter-clockwise in the world, a front face.
FRONT = [[2.0, 17.0, 1.0], [19.0, 15.0, 2.0], [9.0, 2.0, 3.0]]


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (21, 20), (64, 3), (257, 19)])
def test_one_triangle_on_odd_sizes(size: tuple[int, int]) -> None:
    _agree(FRONT, [[0, 1, 2]], *size)


def test_a_known_triangle_covers_known_pixels() -> None:
    # Right angle at (0, 4), legs of 4 pixels: centres strictly below the diagonal.
    _, ids, weights = NATIVE.raster(np.float32([[0, 4.01, 0], [4.01, 4.01, 0], [0, 0, 0]]), np.int32([[0, 1, 2]]), 6, 5)
    assert (ids >= 0).astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    corner = weights[3, 0]
    assert corner[0] > 0.7
    assert corner.sum() <= 1.0 + 1e-6


def test_the_nearer_of_two_wins_whatever_the_order() -> None:
    far = [[0, 20, -1], [30, 20, -1], [10, -5, -1]]
    first = _agree(FRONT + far, [[0, 1, 2], [3, 4, 5]], 23, 19)
    second = _agree(far + FRONT, [[0, 1, 2], [3, 4, 5]], 23, 19)
    assert {0, 1} <= set(first.ravel())
    np.testing.assert_array_equal(first == 0, second == 1)


def test_crossing_triangles_meet_on_a_line(rng: np.random.Generator) -> None:
    _agree([[0, 30, 0], [30, 30, 10], [15, 0, 5], [0, 30, 10], [30, 30, 0], [15, 0, 5]], [[0, 1, 2], [3, 4, 5]], 31, 31)


def test_a_back_face_is_drawn_only_on_request() -> None:
    backwards = [[2, 1, 0]]
    assert (_agree(FRONT, backwards, 21, 20) < 0).all()
    assert (_agree(FRONT, backwards, 21, 20, both_sides=True) == 0).any()


def test_many_random_triangles(rng: np.random.Generator) -> None:
    screen = rng.uniform((-20, -20, -5), (80, 60, 5), (300, 3)).astype(np.float32)
    triangles = rng.integers(0, 300, (150, 3)).astype(np.int32)
    assert (_agree(screen, triangles, 61, 43, both_sides=True) >= 0).mean() > 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_hostile_coordinates_draw_nothing_and_harm_nothing(value: float) -> None:
    screen = np.float32([*FRONT, [value, 1, 1], [3, value, 1], [5, 5, value]])
    alone, _, _ = NATIVE.raster(np.float32(FRONT), np.int32([[0, 1, 2]]), 21, 20)
    both, ids, _ = NATIVE.raster(screen, np.int32([[0, 1, 2], [3, 4, 5]]), 21, 20)
    np.testing.assert_array_equal(alone[ids != 1], both[ids != 1])
    assert (ids == 0).any()


def test_a_triangle_outside_or_without_area_draws_nothing() -> None:
    for triangle in (
        [[-9, 9, 0], [-2, 9, 0], [-5, 2, 0]],
        [[1, 1, 0], [5, 5, 0], [9, 9, 0]],
        [[50, 9, 0], [60, 9, 0], [55, 2, 0]],
    ):
        _, ids, _ = NATIVE.raster(np.float32(triangle), np.int32([[0, 1, 2]]), 20, 20, True)
        assert (ids < 0).all()


def test_strided_arrays_are_read_rightly() -> None:
    wide = np.zeros((3, 6), np.float32)
    wide[:, ::2] = FRONT
    want = NATIVE.raster(np.float32(FRONT), np.int32([[0, 1, 2]]), 21, 20)
    got = NATIVE.raster(wide[:, ::2], np.int32([[0, 1, 2]]), 21, 20)
    for one, other in zip(want, got, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("screen", "triangles", "size", "what"),
    [
        (FRONT, [[0, 1, 3]], (4, 4), "without a vertex"),
        (FRONT, [[0, 1, -1]], (4, 4), "without a vertex"),
        (FRONT, [[0, 1]], (4, 4), r"\[F, 3\]"),
        (FRONT, [[0, 1, 2]], (0, 4), "at least one pixel"),
    ],
)
def test_bad_arrays_are_refused(screen, triangles, size, what) -> None:
    with pytest.raises(ValueError, match=what):
        NATIVE.raster(np.float32(screen), np.int32(triangles), *size)


def test_normals_of_a_cube_corner_and_of_nothing() -> None:
    corner = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]])
    normals = NATIVE.vertex_normals(corner, np.int32([[0, 1, 2], [0, 2, 3], [0, 3, 1]]))
    np.testing.assert_allclose(normals[0], np.ones(3) / np.sqrt(3), atol=1e-6)
    np.testing.assert_array_equal(normals[4], 0)


def test_no_crack_between_triangles_that_share_an_edge(rng: np.random.Generator) -> None:
    for _ in range(40):
        a, c = rng.uniform(-5, 5, 2), rng.uniform(35, 45, 2)
        quad = np.float32([[a[0], c[1], 0], [c[0], c[1], 0], [c[0], a[1], 0], [a[0], a[1], 0]])
        _, ids, _ = NATIVE.raster(quad, np.int32([[0, 1, 2], [0, 2, 3]]), 40, 40)
        inside = ids[6:34, 6:34]
        assert (inside >= 0).all()
