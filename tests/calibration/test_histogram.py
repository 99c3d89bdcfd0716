from __future__ import annotations

import numpy as np
import pytest

from dfer_edge.calibration.histogram import BINS, METHODS, Histogram, entropy, minmax, mse, percentile


def filled(*arrays: np.ndarray) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        assert histogram.add(array)
    return histogram


def test_bins_do_not_depend_on_the_order(rng: np.random.Generator) -> None:
    parts = [rng.standard_normal(n).astype(np.float32) * scale for n, scale in ((1, 0.1), (997, 1), (1000, 300))]
    up, down, whole = filled(*parts), filled(*parts[::-1]), filled(np.concatenate(parts))
    np.testing.assert_array_equal(up.counts, down.counts)
    np.testing.assert_array_equal(up.counts, whole.counts)
    assert up.edge == whole.edge >= up.largest
    assert up.counts.sum() + up.zeros == 1998
    assert len(up.counts) == BINS


def test_zeros_are_counted_apart_and_alone_give_no_edge() -> None:
    histogram = filled(np.zeros((3, 5), np.float32))
    assert (histogram.zeros, histogram.counts.sum(), histogram.edge) == (15, 0, 0)
    assert {name: method(histogram) for name, method in METHODS.items()} == dict.fromkeys(METHODS, 0)
    histogram.add(np.asarray([0, -2, 3], np.float32))
    assert (histogram.low, histogram.high, histogram.zeros, histogram.counts.sum()) == (-2, 3, 16, 2)


def test_strided_and_large_arrays(rng: np.random.Generator) -> None:
    values = rng.standard_normal((3, 700_001)).astype(np.float32)
    histogram = filled(values[:, ::2])
    expected, _ = np.histogram(np.abs(values[:, ::2]), BINS, (0, histogram.edge))
    np.testing.assert_array_equal(histogram.counts, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_not_counted(bad: float) -> None:
    histogram = filled(np.ones(3, np.float32))
    assert not histogram.add(np.asarray([1, bad], np.float32))
    assert histogram.counts.sum() == 3
    assert histogram.largest == 1


def test_thresholds_of_an_outlier(rng: np.random.Generator) -> None:
    """Two hundred thousand values below 1 and one at 50: only minmax gives all steps to the one."""
    values = np.append(rng.uniform(0, 1, 200_000), 50).astype(np.float32)
    histogram = filled(values)
    assert minmax(histogram) == 50
    assert percentile(histogram) == pytest.approx(1, abs=0.02)
    assert entropy(histogram) < 10
    assert mse(histogram) < 50


def test_thresholds_without_a_tail_keep_the_range(rng: np.random.Generator) -> None:
    histogram = filled(rng.uniform(-1, 1, 100_000).astype(np.float32))
    for method in METHODS.values():
        assert method(histogram) == pytest.approx(1, abs=0.03)


def test_mse_is_the_least_of_its_candidates(rng: np.random.Generator) -> None:
    values = rng.laplace(size=100_000).astype(np.float32)

    def error(threshold: float) -> float:
        step = threshold / 127
        return float(((values - np.clip(np.rint(values / step), -127, 127) * step) ** 2).mean())

    best = mse(filled(values))
    assert best < np.abs(values).max()
    assert error(best) <= 1.01 * min(error(t) for t in np.abs(values).max() * np.linspace(0.2, 1, 50))
