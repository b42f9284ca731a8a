"""Comparisons of two models: against binomial sums, and against what chance does."""

from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vgray.retrieval import Comparison, compare_repeats, mcnemar
from vgray.retrieval.comparison import describe_p


def _pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], ...]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat(
        [True, False, True, False], counts
    )


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 5), (1, 8), (8, 1), (0, 6), (12, 3), (0, 1)])
def test_mcnemar_is_a_binomial_test_of_the_queries_that_differ(only_a: int, only_b: int) -> None:
    total, fewer = only_a + only_b, min(only_a, only_b)
    by_hand = 2 * sum(comb(total, k) for k in range(fewer + 1)) / 2**total
    p_value = mcnemar(*_pairs(50, only_a, only_b, 20))
    assert p_value == pytest.approx(min(by_hand, 1.0))
    assert p_value == pytest.approx(stats.binomtest(fewer, total).pvalue)


def test_equal_models_differ_by_chance_for_certain() -> None:
    assert mcnemar(*_pairs(10, 0, 0, 10)) == 1.0


def _single(both: int, only_a: int, only_b: int, neither: int) -> Comparison:
    hits_a, hits_b = _pairs(both, only_a, only_b, neither)
    return compare_repeats(hits_a[None], hits_b[None])


def test_one_seed_each_has_the_exact_p() -> None:
    result = _single(50, 12, 3, 35)
    assert result.difference == pytest.approx(9.0)
    assert result.p_value == mcnemar(*_pairs(50, 12, 3, 35))
    # Agresti and Min's, of 102 with half a query more of each outcome; then the share of 15.
    half = stats.norm.ppf(0.975) * np.sqrt((16 / 102 - (9 / 102) ** 2) / 102)
    share = stats.binomtest(12, 15).proportion_ci(0.95, "exact")
    lows = 9 / 102 - half, (2 * share.low - 1) * 0.15
    highs = 9 / 102 + half, (2 * share.high - 1) * 0.15
    assert result.low == pytest.approx(100 * min(lows))
    assert result.high == pytest.approx(100 * max(highs))
    other = _single(50, 3, 12, 35)
    assert (other.low, other.high) == pytest.approx((-result.high, -result.low))


@pytest.mark.parametrize("num_queries", [1, 20, 400])
def test_the_interval_of_one_seed_each_says_what_its_p_says(num_queries: int) -> None:
    seen = set()
    for differing in range(min(num_queries, 40) + 1):
        for won in range(differing + 1):
            result = _single(0, won, differing - won, num_queries - differing)
            assert result.is_certain != (result.low <= 0 <= result.high), (won, differing)
            assert result.low <= result.difference <= result.high
            seen.add(result.is_certain)
    assert seen == ({False} if num_queries == 1 else {True, False})


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0.01, 0.0), (0.3, 0.02), (0.1, 0.05), (0.2, 0.2), (0.0, 0.0)]
)
@pytest.mark.parametrize("num_queries", [18, 240, 1000])
def test_the_interval_of_one_seed_each_covers(
    only_a: float, only_b: float, num_queries: int
) -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(num_queries, [only_a, only_b, 1 - only_a - only_b], 400)
    inside = 0
    for won, lost, rest in counts:
        result = _single(0, won, lost, rest)
        inside += result.low <= 100 * (only_a - only_b) <= result.high
    assert inside >= 0.89 * len(counts)


def test_of_models_that_hit_the_same_the_number_of_queries_decides() -> None:
    same = _single(12, 0, 0, 6)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert (same.low, same.high) == pytest.approx((-9.8, 9.8), abs=0.05)
    assert _single(1000, 0, 0, 200).high < 0.2


def test_several_seeds_against_the_formula_by_hand() -> None:
    rng = np.random.default_rng(0)
    hits_a, hits_b = rng.random((3, 40)) < 0.7, rng.random((4, 40)) < 0.6
    result = compare_repeats(hits_a, hits_b)
    each = hits_a.mean(axis=0) - hits_b.mean(axis=0)
    parts = [
        (np.var(each, ddof=1) / 40, 39),
        (np.var(hits_a.mean(axis=1), ddof=1) / 3, 2),
        (np.var(hits_b.mean(axis=1), ddof=1) / 4, 3),
    ]
    error = np.sqrt(sum(variance for variance, _ in parts))
    freedom = error**4 / sum(variance**2 / n for variance, n in parts)
    distribution = stats.t(freedom, each.mean(), error)
    assert (result.low, result.high) == pytest.approx(
        (100 * distribution.ppf(0.025), 100 * distribution.ppf(0.975))
    )
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(each.mean()) / error, freedom))
    swapped = compare_repeats(hits_b, hits_a)
    assert swapped.difference == pytest.approx(-result.difference)
    assert swapped.low == pytest.approx(-result.high)
    assert swapped.p_value == pytest.approx(result.p_value)


def test_a_single_seed_is_given_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((4, 60)) < 0.5
    alone = compare_repeats(hits[:1], hits[1:])
    assert alone.high - alone.low > 100 * 2 * stats.t.ppf(0.975, 59) * stats.sem(
        hits[0] - hits[1:].mean(axis=0)
    )


def _trained(
    rng: np.random.Generator, chance: NDArray[np.float64], seeds: int, noise: float
) -> NDArray[np.bool_]:
    """Return (seeds, Q) hits: each training is better or worse as a whole, by its seed."""
    shift = rng.normal(0, noise, (seeds, 1))
    return rng.random((seeds, len(chance))) < np.clip(chance + shift, 0, 1)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_settings_are_rarely_told_apart(noise: float, seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    rejected, missed, worlds = 0, 0, 1000
    for _ in range(worlds):
        chance = rng.beta(2, 1, 120)  # some queries are easy for both
        result = compare_repeats(
            _trained(rng, chance, seeds, noise), _trained(rng, chance, seeds, noise)
        )
        rejected += result.is_certain
        missed += not result.low <= 0 <= result.high
    assert rejected <= 0.06 * worlds
    assert missed == rejected


@pytest.mark.parametrize("others", [2, 3])
def test_a_single_seed_is_not_told_apart_by_the_luck_of_the_others(others: int) -> None:
    rng = np.random.default_rng(others)
    rejected, worlds = 0, 500
    for _ in range(worlds):
        chance = rng.beta(2, 1, 1000)
        rejected += compare_repeats(
            _trained(rng, chance, 1, 0.08), _trained(rng, chance, others, 0.08)
        ).is_certain
    assert rejected <= 0.06 * worlds


def test_a_large_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        chance = rng.beta(2, 1, 240)
        better = _trained(rng, np.clip(chance + 0.15, 0, 1), 3, 0.01)
        result = compare_repeats(better, _trained(rng, chance, 3, 0.01))
        found += result.is_certain and result.difference > 0
    assert found >= 190


def test_without_any_spread_the_number_of_queries_decides() -> None:
    all_hit, none_hit = np.ones((3, 50), dtype=bool), np.zeros((3, 50), dtype=bool)
    same = compare_repeats(all_hit, all_hit)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    # The rule of three: what none of 50 queries shows may still be true of about 3 / 50.
    assert (same.low, same.high) == pytest.approx((-5.8, 5.8), abs=0.05)
    apart = compare_repeats(all_hit, none_hit)
    assert (apart.difference, apart.high) == (100.0, 100.0)
    assert apart.low == pytest.approx(94.2, abs=0.05)
    assert apart.p_value == pytest.approx(2 * 0.5**50)


def test_one_query_tells_nothing() -> None:
    result = compare_repeats(np.array([[True], [True]]), np.array([[False], [False]]))
    assert (result.difference, result.p_value) == (100.0, 1.0)
    assert not result.is_certain


@pytest.mark.parametrize(
    ("shape_a", "shape_b"), [((3, 4), (3, 5)), ((4,), (4,)), ((0, 4), (2, 4)), ((2, 0), (2, 0))]
)
def test_what_cannot_be_compared_is_refused(
    shape_a: tuple[int, ...], shape_b: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"found|nothing"):
        compare_repeats(np.zeros(shape_a, dtype=bool), np.zeros(shape_b, dtype=bool))


def test_p_is_printed_to_two_digits() -> None:
    assert [describe_p(p) for p in (1.0, 0.41234, 0.00871, 0.001, 0.0009999, 0.0)] == [
        "p 1", "p 0.41", "p 0.0087", "p 0.001", "p < 0.001", "p < 0.001",
    ]  # fmt: skip


def test_mcnemar_refuses_other_queries() -> None:
    with pytest.raises(ValueError, match="twice"):
        mcnemar(np.zeros(3, dtype=bool), np.zeros(4, dtype=bool))
