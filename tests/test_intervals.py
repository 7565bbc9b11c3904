"""Intervals against printed tables."""

import math

import numpy as np
import pytest

from perfnb import intervals


@pytest.mark.parametrize(
    ("x", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_the_examples_of_newcombe_1998(x, n, low, high):
    found = intervals.wilson(x, n)
    assert tuple(round(float(limit), 4) for limit in found) == (low, high)


def test_wilson_is_symmetric_holds_the_rate_and_ends_in_exact_zeros_and_ones():
    for n in (1, 2, 7, 30, 10_000):
        x = np.arange(n + 1) if n < 100 else np.array([0, 1, 5000, 9999, 10_000])
        low, high = intervals.wilson(x, np.full(len(x), n))
        other_low, other_high = intervals.wilson(n - x, np.full(len(x), n))
        np.testing.assert_allclose(low, 1 - other_high, atol=1e-12)
        np.testing.assert_allclose(high, 1 - other_low, atol=1e-12)
        assert (low <= x / n).all() and (x / n <= high).all() and (low >= 0).all() and (high <= 1).all()
        assert low[0] == 0 and high[-1] == 1 and (low[1:] > 0).all() and (high[:-1] < 1).all()


def test_wilson_of_nothing_is_null():
    low, high = intervals.wilson([0, np.nan, 1], [0, 5, np.nan])
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (5, 2.5706),
        (7, 2.3646),
        (10, 2.2281),
        (20, 2.0860),
        (29, 2.0452),
        (60, 2.0003),
        (120, 1.9799),
        (10_000, 1.9602),
    ],
)
def test_student_quantiles_equal_the_printed_table_of_0_975(degrees, quantile):
    n, variance = degrees + 1, 4.0
    low, high = intervals.mean([10.0], [variance], [n])
    assert high[0] - 10 == pytest.approx(10 - low[0])
    assert (high[0] - 10) / math.sqrt(variance / n) == pytest.approx(quantile, abs=2e-4)


def test_a_mean_of_one_has_no_interval():
    low, high = intervals.mean([3.0, 3.0], [np.nan, 0.0], [1, 5])
    assert np.isnan(low[0]) and np.isnan(high[0]) and low[1] == high[1] == 3
