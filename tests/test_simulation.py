"""The simulation of benchmarks/run scale, held against what can be computed without it."""

from __future__ import annotations

from math import ceil, erf, exp, log, sqrt
from pathlib import Path
from random import Random
from statistics import mean, stdev

import pytest

from benchmarks import scale
from benchmarks.simulation import Model, durations, simulate
from benchmarks.timing import table

ROUNDS = 400
HOUR = 3600.0


def _agrees(values: list[float], expected: float) -> bool:
    """Return whether the mean of independent results is the expected one, within 4 standard errors."""
    return abs(mean(values) - expected) <= 4 * stdev(values) / sqrt(len(values))


def _makespans(model: Model) -> list[float]:
    return [simulate(model, seed).makespan for seed in range(ROUNDS)]


@pytest.mark.parametrize(("shards", "workers"), [(1, 1), (7, 7), (20, 2), (21, 2), (3, 8), (1000, 64)])
def test_equal_shards_without_failures_take_as_many_rounds_as_needed(shards, workers) -> None:
    model = Model(shards, workers, mean=30, overhead=2, startup=100, pull=10)
    result = simulate(model)
    rounds = ceil(shards / workers)
    assert result.makespan == pytest.approx(110 + rounds * 32)
    assert (result.attempts, result.failed, result.lost) == (shards, (), 0)
    assert (result.useful, result.starting, result.pulling) == pytest.approx((32 * shards, 100 * workers, 10 * workers))
    assert result.idle == pytest.approx(32 * (rounds * workers - shards))


@pytest.mark.parametrize("seed", range(3))
def test_one_worker_takes_the_sum_of_the_durations(seed) -> None:
    model = Model(50, 1, mean=60, sigma=1)
    lengths = durations(model, Random(seed))
    result = simulate(model, seed)
    assert result.makespan == pytest.approx(sum(lengths))
    assert result.waited == pytest.approx(mean(sum(lengths[:number]) for number in range(50)))
    assert simulate(model, seed) == result != simulate(model, seed + 1)


def test_durations_are_lognormal_with_that_mean() -> None:
    values = durations(Model(40_000, 1, mean=300, sigma=0.5), Random(1))
    assert _agrees(values, 300)
    assert mean(map(log, values)) == pytest.approx(log(300) - 0.125, abs=0.02)
    assert stdev(map(log, values)) == pytest.approx(0.5, abs=0.02)


def test_the_longest_of_as_many_shards_as_workers() -> None:
    """The expected maximum is the integral of 1 - F(x)^K."""
    shards, sigma = 20, 0.8
    mu = log(100) - sigma**2 / 2
    step, expected = 0.5, 0.0
    for number in range(40_000):
        x = (number + 0.5) * step
        expected += step * (1 - ((1 + erf((log(x) - mu) / sigma / sqrt(2))) / 2) ** shards)
    assert _agrees(_makespans(Model(shards, shards, mean=100, sigma=sigma)), expected)


def test_failures_cost_half_a_shard_each() -> None:
    """An attempt fails with probability p after half of its time on average: p / (1 - p) failures for each shard."""
    p = 0.3
    results = [simulate(Model(20, 1, mean=10, sigma=0.5, failure=p, attempts=1000), seed) for seed in range(ROUNDS)]
    assert _agrees([each.makespan for each in results], 20 * 10 * (1 + p / (1 - p) / 2))
    assert _agrees([float(each.attempts) for each in results], 20 / (1 - p))
    assert {each.failed for each in results} == {()}


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_shards_fail_when_all_attempts_do(attempts) -> None:
    model = Model(100, 7, mean=10, failure=0.4, attempts=attempts)
    results = [simulate(model, seed) for seed in range(ROUNDS)]
    assert _agrees([float(len(each.failed)) for each in results], 100 * 0.4**attempts)
    assert _agrees([float(each.attempts) for each in results], 100 * sum(0.4**n for n in range(attempts)))


def test_interruptions_restart_a_shard_and_a_worker() -> None:
    """A run of t that begins again after each interruption takes (1/rate + restart) (exp(rate t) - 1) on average."""
    rate, length, startup, pull = 2.0, 0.5 * HOUR, 90.0, 30.0
    model = Model(1, 1, mean=length, startup=startup, pull=pull, interruptions=rate, attempts=1000)
    expected = startup + pull + (HOUR / rate + startup + pull) * (exp(rate * length / HOUR) - 1)
    assert _agrees(_makespans(model), expected)


def test_an_idle_worker_takes_what_another_lost() -> None:
    model = Model(2, 2, mean=HOUR, startup=600, interruptions=1, attempts=1000)
    for result in (simulate(model, seed, lengths=[HOUR, 60]) for seed in range(20)):
        assert result.idle >= 0
        assert result.useful == HOUR + 60


def test_pulls_share_the_link() -> None:
    alone = Model(100, 100, mean=1, pull=20)
    assert simulate(alone).makespan == pytest.approx(21)
    shared = simulate(alone._replace(pulls_at_full_rate=5))
    assert shared.makespan == pytest.approx(100 * 20 / 5 + 1)
    assert shared.pulling == pytest.approx(100 * 400)
    # The second begins when the first has half; from then on they share.
    staggered = Model(2, 2, mean=60, pull=20, pulls_at_full_rate=1, launch_burst=1, launch_rate=0.1)
    assert simulate(staggered).makespan == pytest.approx(10 + 20 + 10 + 60)


def test_launches_wait_for_tokens() -> None:
    model = Model(1000, 1000, mean=60, launch_burst=100, launch_rate=20)
    result = simulate(model)
    assert result.makespan == pytest.approx((1000 - 100) / 20 + 60)
    assert result.waited == pytest.approx(sum(range(1, 901)) / 20 / 1000)


def test_a_fresh_worker_for_each_attempt() -> None:
    model = Model(10, 2, mean=60, startup=30, pull=10, fresh_workers=True)
    result = simulate(model)
    assert result.makespan == pytest.approx(5 * 100)
    assert (result.starting, result.pulling, result.useful) == pytest.approx((300, 100, 600))
    failing = simulate(model._replace(failure=0.5, attempts=10), seed=3)
    assert failing.starting == pytest.approx(30 * failing.attempts)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_all_time_is_accounted_for(fresh, seed) -> None:
    model = Model(200, 16, mean=60, sigma=1, startup=20, pull=5, failure=0.1, attempts=4, fresh_workers=fresh)
    result = simulate(model, seed)
    assert result.busy + result.idle == pytest.approx(16 * result.makespan)
    assert result.busy == pytest.approx(result.starting + result.pulling + result.useful + result.lost)
    assert 0 <= result.tail <= result.makespan
    assert result.makespan >= sum(durations(model, Random(seed))) / 16 - 60 * 200 * (len(result.failed) > 0)


def test_the_pages_show_the_tables_of_the_code() -> None:
    root = Path(__file__).parent.parent
    for page, shown in (("benchmarks/README.md", scale.stragglers()), ("docs/scale.md", scale.costs())):
        assert table(shown.rows, shown.header) in (root / page).read_text()
