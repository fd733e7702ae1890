"""Jobs of many shards: what simulated ones wait for, what a retry costs, and a real one beside its prediction."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from statistics import mean, median
from typing import NamedTuple

from benchmarks.lab import environment, installed, write
from benchmarks.simulation import Model, Result, durations, simulate
from benchmarks.timing import Call, milliseconds, note, run
from tests.testbed import images
from tests.testbed.debian import modern_usr
from tests.testbed.engine import CONTAINERD, running

SEEDS = 20

# A thousand shards of five minutes on a hundred workers: 83.3 hours of work, 50 minutes for each worker.
JOB = Model(1000, 100, mean=300)
# Instances and docks start once; a task on Fargate starts for each attempt. What they take is our assumption.
INSTANCES = JOB._replace(startup=120, pull=20, overhead=1)
FARGATE = JOB._replace(startup=40, pull=20, overhead=1, fresh_workers=True, launch_burst=100, launch_rate=20)

_HOUR, _MINUTE = 3600.0, 60.0
_MINIMUM = 60.0  # seconds that are paid for at least for a task on Fargate

# US dollars for a second of a vCPU and of a GB: Linux, x86, on demand, US East (N. Virginia), from the examples of the
# page "AWS Fargate Pricing", in a copy of October 2026.
_VCPU, _GIGABYTE = 0.000011244, 0.000001235

# The real job. Failing shards end in the middle, as those of the model on average.
REAL = Model(20, 2, mean=1.5, sigma=0.6)
REAL_FAILING = (4, 11, 17)
_JOB = 'set -- $(sed -n "$((AWS_BATCH_JOB_ARRAY_INDEX + 1))p" /lengths)\nsleep "$1"\nexit "$2"\n'


class Table(NamedTuple):
    """A table, with what it shows."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def simulated() -> list[Table]:
    """Return the tables of simulated jobs; each figure is the mean of SEEDS runs."""
    tables = [stragglers(), workers(), shard_lengths(), failures(), rerunning(), pulling()]
    for table in tables:
        note(table.title)
    return tables


def stragglers() -> Table:
    """Vary the durations of the same job more and more."""
    rows = []
    for sigma in (0.0, 0.5, 1.0, 1.5):
        model = INSTANCES._replace(sigma=sigma)
        results = _results(model)
        longest = mean(max(durations(model, Random(seed))) for seed in range(SEEDS))
        tail = mean(each.tail for each in results)
        rows.append((f"{sigma:g}", _minutes(longest), *_shares(results), _minutes(tail)))
    return Table("Stragglers", ("sigma", "longest shard", *_SHARES, "tail"), rows)


def workers() -> Table:
    """Give the same job more and more workers."""
    rows = []
    for count in (10, 50, 100, 200, 333, 334, 500, 1000):
        results = _results(INSTANCES._replace(workers=count, sigma=0.5))
        equal = simulate(INSTANCES._replace(workers=count)).makespan
        rows.append((str(count), f"{JOB.shards / count:.1f}", _minutes(equal), *_shares(results)))
    return Table("Workers", ("N", "K/N", "if equal", *_SHARES), rows)


def shard_lengths() -> Table:
    """Divide the same work into more and more shards, on instances and on Fargate."""
    rows = []
    for shards in (100, 200, 500, 1000, 2000, 5000, 10_000):
        length = JOB.shards * JOB.mean / shards
        cells = []
        for base in (INSTANCES, FARGATE):
            for sigma in (0.5, 1.0):
                results = _results(base._replace(shards=shards, mean=length, sigma=sigma))
                cells.append(_minutes(mean(each.makespan for each in results)))
        rows.append((str(shards), _minutes(length), *cells, f"+{beyond_work(shards, length):.0%}"))
    header = ("K", "shard", "instances", "sigma 1", "Fargate", "sigma 1", "paid beyond work")
    return Table("Shard length", header, rows)


def failures() -> Table:
    """Let attempts fail, with the same work in shards of five minutes and of an hour, on 42 workers."""
    rows = []
    for what, failure, interruptions in (
        ("nothing", 0.0, 0.0),
        ("1 % of attempts fail", 0.01, 0.0),
        ("5 % fail", 0.05, 0.0),
        ("20 % fail", 0.20, 0.0),
        ("spot, 0.05 interruptions an hour", 0.0, 0.05),
        ("spot, 0.5 an hour", 0.0, 0.5),
    ):
        for shards in (JOB.shards, 84):
            length = JOB.shards * JOB.mean / shards
            once = INSTANCES._replace(shards=shards, mean=length, workers=42, sigma=0.5)
            once = once._replace(failure=failure, interruptions=interruptions)
            three = _results(once._replace(attempts=3))
            rows.append((
                what,
                _minutes(length),
                f"{mean(len(each.failed) / shards for each in _results(once)):.1%}",
                f"{mean(len(each.failed) / shards for each in three):.1%}",
                _minutes(mean(each.makespan for each in three)),
                f"{mean(each.lost for each in three) / (JOB.shards * JOB.mean):.1%}",
            ))  # fmt: skip
    header = ("what happens", "shard", "failed with 1 attempt", "with 3", "takes", "work lost")
    return Table("Failures", header, rows)


def rerunning() -> Table:
    """Repeat until all shards succeeded: the whole job, only its failed shards, or attempts within the job."""
    rows = []
    for failure in (0.01, 0.05, 0.2):
        model = INSTANCES._replace(sigma=0.5, failure=failure)
        ways = {
            "all shards": partial(rerun, model, only_failed=False),
            "the failed ones": partial(rerun, model, only_failed=True),
            "each at once, 10 attempts": partial(rerun, model._replace(attempts=10), only_failed=True),
        }
        for way, take in ways.items():
            results = [take(seed=seed) for seed in range(SEEDS)]
            took, busy = (mean(each) for each in zip(*results, strict=True))
            rows.append((f"{failure:.0%}", way, _minutes(took), f"{busy / _HOUR:.1f} h"))
    return Table("Running failed shards again", ("fail", "what runs again", "takes", "worker time"), rows)


def rerun(model: Model, *, seed: int, only_failed: bool) -> tuple[float, float]:
    """Submit the job until each shard succeeded once; return the sums of makespans and of worker time."""
    lengths = durations(model, Random(seed))
    missing = list(range(model.shards))
    took = busy = 0.0
    for number in range(1000):
        if not missing:
            break
        submitted = missing if only_failed else list(range(model.shards))
        result = simulate(model, seed * 1000 + number, [lengths[shard] for shard in submitted])
        failed = {submitted[index] for index in result.failed}
        missing = [shard for shard in missing if shard in failed]
        took, busy = took + result.makespan, busy + result.busy
    return took, busy


def pulling() -> Table:
    """Send an image of 2 GB to all workers, which takes a link of 1 Gbit/s 16 seconds for each."""
    rows = []
    for count in (10, 100, 1000):
        model = Model(count, count, mean=0, pull=16, fresh_workers=True)
        one = simulate(model._replace(pulls_at_full_rate=1)).makespan
        ten = simulate(model._replace(pulls_at_full_rate=10)).makespan
        own = simulate(model._replace(launch_burst=100, launch_rate=20)).makespan
        rows.append((str(count), _minutes(one), _minutes(ten), _minutes(own)))
    header = ("N", "one link of 1 Gbit/s", "one of 10 Gbit/s", "each 1 Gbit/s, 20 launches a second")
    return Table("Image distribution", header, rows)


def beyond_work(shards: int, length: float) -> float:
    """Return the share that is paid for beyond the work on Fargate: a task from pull to end, at least a minute."""
    model = FARGATE._replace(shards=shards, mean=length, sigma=0.5)
    lengths = [each for seed in range(SEEDS) for each in durations(model, Random(seed))]
    return sum(max(_MINIMUM, model.pull + model.overhead + each) for each in lengths) / sum(lengths) - 1


def costs() -> Table:
    """Return what 1,000 shards cost on Fargate, with a pull of 20 s for each."""
    rows = []
    for vcpus, gigabytes in ((0.25, 0.5), (1, 2), (4, 16)):
        seconds = vcpus * _VCPU + gigabytes * _GIGABYTE
        paid = (1000 * seconds * max(_MINIMUM, FARGATE.pull + length) for length in (30, 300, 3600))
        rows.append((f"{vcpus:g} vCPU, {gigabytes:g} GB", *(f"${each:.2f}" for each in paid)))
    return Table("Cost of 1,000 shards on Fargate", ("size", "30 s", "5 min", "1 h"), rows)


_SHARES = ("takes", "worker time", "starting", "pulling", "working", "waiting for the last")


def _shares(results: Sequence[Result]) -> tuple[str, ...]:
    """Return how long jobs took, and what their workers spent their time on."""
    total = mean(each.busy + each.idle for each in results)
    parts = [
        mean(each.starting for each in results),
        mean(each.pulling for each in results),
        mean(each.useful + each.lost for each in results),
        mean(each.idle for each in results),
    ]
    took = _minutes(mean(each.makespan for each in results))
    return took, f"{total / _HOUR:.1f} h", *(f"{part / total:.1%}" for part in parts)


def _results(model: Model) -> list[Result]:
    return [simulate(model, seed) for seed in range(SEEDS)]


def _minutes(seconds: float) -> str:
    return f"{seconds / _MINUTE:.1f} min"


def real() -> Table:
    """Run a job of 20 short shards with two containers at a time, and compare its time with what was predicted.

    The first prediction uses the known lengths of the shards, and the time of a container that does nothing, measured
    before. The second one uses the time that each container took, so it depends on the order only.
    """
    lengths = durations(REAL, Random(1))
    failing = [shard in REAL_FAILING for shard in range(REAL.shards)]
    lengths = [length / 2 if fails else length for length, fails in zip(lengths, failing, strict=True)]
    script = "".join(f"{length:.3f} {int(fails)}\n" for length, fails in zip(lengths, failing, strict=True))
    with installed("jobs", "debootstrap", "busybox") as (directory, binaries), _engine(directory) as env:
        project = f"{directory}/app"
        write(f"{project}/docker/app/Dockerfile", f"FROM {images.BUSYBOX}\nCOPY lengths job /\n")
        write(f"{project}/docker/dockerutils.cfg", "[app]\nname = job\nprefix = False\ntag = 1\ncmd = sh /job\n")
        write(f"{project}/lengths", script)
        write(f"{project}/job", _JOB)
        run(Call([f"{binaries}/build-image", "app"], project, env))
        docker = ["docker", "run", "--init", "--rm"]
        overhead = median(milliseconds(Call([*docker, "job:1", "true"], project, env)) for _ in range(7)) / 1000
        note("a real job: 20 shards, two at a time, by docker run and by run-image --shards")
        calls = [
            Call([*docker, "-e", f"AWS_BATCH_JOB_ARRAY_INDEX={shard}", "job:1", "sh", "/job"], project, env)
            for shard in range(REAL.shards)
        ]
        began = time.perf_counter()
        with ThreadPoolExecutor(REAL.workers) as pool:  # it gives each thread the next call, in their order
            took = [taken / 1000 for taken in pool.map(partial(milliseconds, accepted=[0, 1]), calls)]
        by_docker = time.perf_counter() - began
        shards = ["run-image", "app", "--shards", str(REAL.shards), "-j", str(REAL.workers)]
        call = Call([f"{binaries}/{shards[0]}", *shards[1:]], project, env)
        by_run_image = milliseconds(call, accepted=[len(REAL_FAILING)]) / 1000
    before = simulate(REAL._replace(overhead=overhead), lengths=lengths).makespan
    after = simulate(REAL, lengths=took).makespan
    rows = [
        ("predicted before the run", before),
        ("predicted from each container's time", after),
        ("docker run in two threads", by_docker),
        (" ".join(shards), by_run_image),
    ]
    title = f"A real job: {REAL.shards} shards of {mean(lengths):.2f} s, a container of true takes {overhead:.2f} s"
    shown = [(name, f"{seconds:.2f} s", f"{seconds / by_docker - 1:+.1%}") for name, seconds in rows]
    return Table(title, ("20 shards, 2 at a time", "takes", "against docker run"), shown)


@contextlib.contextmanager
def _engine(directory: str) -> Iterator[dict[str, str]]:
    """Start an engine with the image of busybox, and give the environment of its user."""
    note("starting a Docker Engine (the first time, Debian's is fetched)")
    with running(modern_usr(), **CONTAINERD) as engine:
        images.add_busybox(engine)
        yield {**environment(directory), **engine.client(f"{directory}/.docker")}
