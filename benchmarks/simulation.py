"""A discrete-event simulation of a job: K shards over N workers that start, pull an image, fail and are interrupted.

The model; times are in seconds:

- All shards are in one queue at 0. A worker takes the first, runs it to its end, and takes the next.
- A worker is launched when the token bucket of launches has a token, is up `startup` later, then pulls the image. Pulls
  share one link, on which `pulls_at_full_rate` of them are as fast as one (`pull`); more of them share it equally.
- With `fresh_workers` each attempt has its own worker, as a task on Fargate: one of N places launches it, and is free
  when the attempt ends. Otherwise a worker starts once, as an instance or a dock, and stays until the end.
- A shard runs for `overhead` and a duration from a lognormal distribution with the mean `mean` and the parameter
  `sigma`; with 0 all are equal. It has the same duration in each attempt.
- An attempt fails with probability `failure`, at a point of its run that is uniformly distributed.
- A worker is interrupted `interruptions` times in an hour of running shards on average (exponentially distributed). The
  attempt is lost, and another worker is launched in its place.
- A failed or interrupted shard goes to the end of the queue until it has had `attempts` attempts.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf, log
from typing import NamedTuple

_HOUR = 3600.0


class Model(NamedTuple):
    """What is simulated; the times are in seconds, and the module has the meaning of each field."""

    shards: int
    workers: int
    mean: float
    sigma: float = 0
    overhead: float = 0
    startup: float = 0
    pull: float = 0
    pulls_at_full_rate: float = inf
    launch_burst: float = inf
    launch_rate: float = inf  # a second, beyond the burst
    fresh_workers: bool = False
    failure: float = 0
    interruptions: float = 0  # an hour of running, for each worker
    attempts: int = 1


class Result(NamedTuple):
    """What came of it: when it ended, and what the workers spent their time on, as sums in seconds.

    `idle` is waiting for the last shard, after the queue is empty; `tail` is how long there was a worker that did.
    `waited` is the mean time of shards in the queue before their first attempt.
    """

    makespan: float
    starting: float
    pulling: float
    useful: float
    lost: float
    idle: float
    tail: float
    waited: float
    attempts: int
    failed: tuple[int, ...]

    @property
    def busy(self) -> float:
        """What is paid if workers are released as soon as the queue is empty for them."""
        return self.starting + self.pulling + self.useful + self.lost


def durations(model: Model, chance: random.Random) -> list[float]:
    """Return the durations of the shards: lognormal with the model's mean and sigma."""
    if not model.sigma:
        return [model.mean] * model.shards
    mu = log(model.mean) - model.sigma**2 / 2
    return [chance.lognormvariate(mu, model.sigma) for _ in range(model.shards)]


def simulate(model: Model, seed: int = 0, lengths: Sequence[float] | None = None) -> Result:
    """Run the model once; the same seed gives the same result. `lengths` replaces the random durations."""
    chance = random.Random(seed)
    return _Run(model, chance, durations(model, chance) if lengths is None else lengths).result()


class _Task(NamedTuple):
    shard: int
    attempt: int


class _Link:
    """Equal pulls over one link, of which some are as fast as one, and more share it equally.

    `_done` is what a pull has got that was there from the beginning, in seconds at the full rate. So a pull ends when
    `_done` has grown by the length of a pull since it began.
    """

    def __init__(self, length: float, at_full_rate: float) -> None:
        self._length = length
        self._at_full_rate = at_full_rate
        self._done = 0.0
        self._at = 0.0
        self._pulls: deque[tuple[float, float, Callable[[], None]]] = deque()
        self.plan = 0  # the number of the last plan; an earlier one is void

    def begin(self, now: float, then: Callable[[], None]) -> None:
        self._advance(now)
        self._pulls.append((self._done + self._length, now, then))

    def end(self, now: float) -> tuple[float, Callable[[], None]]:
        """End the first pull; return how long it took, and what comes then."""
        self._advance(now)
        _, began, then = self._pulls.popleft()
        return now - began, then

    def until_first(self) -> float | None:
        """Return when the first pull will end, in seconds from the last beginning or end; None without one."""
        return max(0.0, self._pulls[0][0] - self._done) / self._rate if self._pulls else None

    @property
    def _rate(self) -> float:
        return min(1.0, self._at_full_rate / len(self._pulls)) if self._pulls else 0.0

    def _advance(self, now: float) -> None:
        self._done += (now - self._at) * self._rate
        self._at = now


class _Run:
    def __init__(self, model: Model, chance: random.Random, lengths: Sequence[float]) -> None:
        self._model = model
        self._chance = chance
        self._lengths = lengths
        self._now = self._end = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0  # events at one time happen in the order in which they were planned
        self._queue = deque(_Task(shard, 1) for shard in range(len(lengths)))
        self._link = _Link(model.pull, model.pulls_at_full_rate)
        self._next_token = 0.0  # when the token bucket of launches would be full again
        self._idle_since: list[float] = []
        self._idle = 0.0
        self._waits: list[float] = []
        self._spent = dict.fromkeys(("starting", "pulling", "useful", "lost"), 0.0)
        self._attempts = 0
        self._failed: list[int] = []

    def result(self) -> Result:
        """Run until nothing more happens."""
        for _ in range(self._model.workers):
            self._launch()
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        return Result(
            self._end,
            **self._spent,
            idle=self._idle + sum(max(0.0, self._end - since) for since in self._idle_since),
            tail=max(0.0, self._end - min(self._idle_since, default=self._end)),
            waited=sum(self._waits) / len(self._lengths),
            attempts=self._attempts,
            failed=tuple(sorted(self._failed)),
        )

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self._now + seconds, self._order, happen))

    def _launch(self) -> None:
        """Launch a worker as soon as the token bucket has a token; a fresh one for the first shard of the queue."""
        task = None
        if self._model.fresh_workers:
            if not self._queue:
                self._idle_since.append(self._now)
                return
            task = self._queue.popleft()
        at = self._now
        if self._model.launch_rate < inf:
            at = max(at, self._next_token - (self._model.launch_burst - 1) / self._model.launch_rate)
            self._next_token = max(at, self._next_token) + 1 / self._model.launch_rate
        self._spent["starting"] += self._model.startup
        self._after(at - self._now + self._model.startup, partial(self._pull, task))

    def _pull(self, task: _Task | None) -> None:
        self._link.begin(self._now, partial(self._work, task))
        self._plan_pull()

    def _plan_pull(self) -> None:
        """Plan the end of the first pull; a later plan replaces it, because other pulls change the rate."""
        self._link.plan += 1
        seconds = self._link.until_first()
        if seconds is not None:
            self._after(seconds, partial(self._pulled, self._link.plan))

    def _pulled(self, plan: int) -> None:
        if plan == self._link.plan:
            took, then = self._link.end(self._now)
            self._spent["pulling"] += took
            self._plan_pull()
            then()

    def _work(self, task: _Task | None = None) -> None:
        """Run a shard, the first of the queue if none is given; without one, stay idle."""
        if task is None and not self._queue:
            self._idle_since.append(self._now)
            return
        task = task or self._queue.popleft()
        if task.attempt == 1:
            self._waits.append(self._now)
        self._attempts += 1
        whole = self._model.overhead + self._lengths[task.shard]
        fails = self._chance.random() < self._model.failure
        ends = self._chance.random() * whole if fails else whole
        rate = self._model.interruptions / _HOUR
        interrupted = self._chance.expovariate(rate) if rate else inf
        happen = self._interrupt if interrupted < ends else self._fail if fails else self._succeed
        ran = min(ends, interrupted)
        self._after(ran, partial(happen, task, ran))

    def _succeed(self, _: _Task, ran: float) -> None:
        self._spent["useful"] += ran
        self._end = self._now
        self._next()

    def _fail(self, task: _Task, ran: float) -> None:
        self._lose(task, ran)
        self._next()

    def _interrupt(self, task: _Task, ran: float) -> None:
        """Lose a worker too: an idle one replaces it, else a new one if there is something to do."""
        self._lose(task, ran)
        if self._queue and self._idle_since and not self._model.fresh_workers:
            self._idle += self._now - self._idle_since.pop()
            self._work()
        elif self._queue or self._model.fresh_workers:
            self._launch()

    def _lose(self, task: _Task, ran: float) -> None:
        self._spent["lost"] += ran
        self._end = self._now
        if task.attempt < self._model.attempts:
            self._queue.append(_Task(task.shard, task.attempt + 1))
        else:
            self._failed.append(task.shard)

    def _next(self) -> None:
        if self._model.fresh_workers:
            self._launch()
        else:
            self._work()
