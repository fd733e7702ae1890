"""Builds of a project with a base and seven images on it, beside bake and compose; and a registry cache for CI jobs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping

from benchmarks.lab import Place, environment, installed, write
from benchmarks.timing import Call, Row, Series, compare, milliseconds, note, run, verdict
from tests.testbed import images, registry
from tests.testbed.debian import modern_usr
from tests.testbed.engine import CONTAINERD, running

NAMES = [f"image{number}" for number in range(1, 8)]
COLD, CACHED = 3, 7  # rounds
# How many times as long as bake: from scratch, and with everything in the cache.
AT_MOST = {"from scratch": 1.3, "cached": 2.5}

OURS, IN_TURN, BAKE, COMPOSE = "build-image all", "build-image all -j 1", "docker buildx bake", "docker compose build"

# What builds do: wait for others, compute, and write files.
_WORK = "sleep 1; dd if=/dev/urandom bs=1M count=6 2>/dev/null | gzip > /data-{0}; echo {0} > /own-{0}"
_BASE = f"FROM local/busybox\nCOPY nonce /nonce\nRUN {_WORK.format('base')}\n"
_ON_BASE = "FROM app-base:1\nCOPY src /src\nRUN {}\n"
_FILES = 500  # of 2 kB, in the context

_CACHE_REFERENCE = "type=registry,ref=$CACHE/app-cache"
_CACHED_CONFIGURATION = f"""\
[prod]
build_args = --cache-from {_CACHE_REFERENCE} --cache-to {_CACHE_REFERENCE},mode=max
"""
_CACHED_DOCKERFILE = f"""\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN sleep 10; {_WORK.format("dependencies")}
COPY nonce /nonce
RUN echo app > /app
"""


@contextlib.contextmanager
def opened() -> Iterator[Place]:
    """Yield a project on an engine with the containerd image store; remove all of it afterwards."""
    with contextlib.ExitStack() as stack:
        needed = installed("builds", "debootstrap", "docker-registry", "busybox")
        directory, binaries = stack.enter_context(needed)
        note("starting a Docker Engine (the first time, Debian's is fetched)")
        engine = stack.enter_context(running(modern_usr(), **CONTAINERD))
        images.add_busybox(engine)
        env = {**environment(directory), **engine.client(f"{directory}/.docker"), "LOGNAME": "alice"}
        project = f"{directory}/app"
        write(f"{project}/docker/base/Dockerfile", _BASE)
        for name in NAMES:
            write(f"{project}/docker/{name}/Dockerfile", _ON_BASE.format(_WORK.format(name)))
        for number in range(_FILES):
            write(f"{project}/src/module{number}.py", f"NUMBER = {number}\n" * 120)
        write(f"{project}/docker/dockerutils.cfg", "[DEFAULT]\ntag = 1\n")
        write(f"{project}/nonce", "0")
        write(f"{project}/compose.yml", json.dumps({"services": dict(_services())}))
        place = Place(binaries, project, env)
        write(f"{project}/docker-bake.json", run(Call((f"{binaries}/dockerutils", "bake"), project, env)))
        yield place


def building(place: Place) -> list[Row]:
    """Compare build-image with bake and compose, and with itself building one image after the other."""
    calls = {
        OURS: Call((f"{place.bin}/build-image", "all"), place.project, place.env),
        BAKE: Call(("docker", "buildx", "bake"), place.project, place.env),
        COMPOSE: Call(("docker", "compose", "build"), place.project, place.env),
        IN_TURN: Call((f"{place.bin}/build-image", "all", "-j", "1"), place.project, place.env),
    }
    rows = []
    for case, rounds in {"from scratch": COLD, "cached": CACHED}.items():
        times = _rounds(place, calls, case, rounds)
        note(", ".join(f"{name}: {[round(each, 2) for each in taken]}" for name, taken in times.items()))
        ours = Series(f"{OURS}, {case}", times[OURS])
        for name in (BAKE, COMPOSE, IN_TURN):
            row = compare(ours, Series(name, times[name]), "s")
            limit = AT_MOST[case]
            met = float(row.ratio) <= limit
            rows.append(row._replace(wanted=verdict(f"≤ {limit:g} times", met=met) if name == BAKE else ""))
    return rows


def caching(place: Place) -> list[Row]:
    """Time a job's build on three fresh engines: one fills the registry cache, one uses it, one has none."""
    project = f"{os.path.dirname(place.project)}/cached"
    write(f"{project}/docker/prod/Dockerfile", _CACHED_DOCKERFILE)
    shutil.copy2(shutil.which("busybox") or "busybox", f"{project}/busybox")
    taken = {}
    with registry.listening(f"{os.path.dirname(place.project)}/registry") as there:
        for name in ("first", "second", "none"):
            note(f"a job on a fresh engine: {name}")
            write(f"{project}/docker/dockerutils.cfg", "" if name == "none" else _CACHED_CONFIGURATION)
            write(f"{project}/nonce", name)  # the jobs are of different commits
            with running(modern_usr(), **CONTAINERD) as engine, registry.shared(engine, there.host):
                env = {**place.env, **engine.client(f"{project}-{name}"), "CACHE": there.host}
                taken[name] = milliseconds(Call((f"{place.bin}/build-image", "prod"), project, env)) / 1000
    none = Series("without a cache", [taken["none"]])
    jobs = {"a first CI job, which fills a registry cache": "first", "a second one, on a fresh engine": "second"}
    return [compare(Series(name, [taken[job]]), none, "s") for name, job in jobs.items()]


def _services() -> Iterator[tuple[str, object]]:
    for name in ("base", *NAMES):
        contexts = {} if name == "base" else {"app-base:1": "service:base"}
        build = {"context": ".", "dockerfile": f"docker/{name}/Dockerfile", "additional_contexts": contexts}
        yield name, {"image": f"app-{name}:1", "build": build}


def _rounds(place: Place, calls: Mapping[str, Call], case: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each call, round by round, in alternating order."""
    note(f"{rounds} rounds of builds, {case}")
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            if case == "from scratch":
                write(f"{place.project}/nonce", f"{name} {time.time_ns()}")
            times[name].append(milliseconds(calls[name]) / 1000)
        order.reverse()
    return times
