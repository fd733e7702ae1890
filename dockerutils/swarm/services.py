"""Run an image as a service on a swarm: create it, update it, remove it, and wait for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from dockerutils.core import console, process, shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.process import PIPE, Command
from dockerutils.core.process.children import children
from dockerutils.docker import api, engine, invocation, options, ports
from dockerutils.docker.api import Api, ApiError, Disconnected
from dockerutils.docker.options import RUN, SERVICE, Option
from dockerutils.docks import project_copy
from dockerutils.project.config import Settings
from dockerutils.project.project import CONFIGURED, Image, Project
from dockerutils.swarm import service_changes, service_fields, service_options, service_watch
from dockerutils.swarm.service_changes import UPDATE, Wanted
from dockerutils.swarm.service_fields import at
from dockerutils.swarm.service_options import option
from dockerutils.swarm.service_watch import Goal

_BY = "run-image"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_IMAGE = "Spec.TaskTemplate.ContainerSpec.Image"
_LONGEST_TAG = 120
_SECOND = 10**9
_MONITOR = "5s"  # docker's default

# The keys of a section that a service reads, in the order in which an error looks for the place of an option.
_KEYS = ("environment", "gpu", "volumes", "ports", "args", "init")


class Request(NamedTuple):
    """A request for a service: the number of its replicas, and its name, None for that of project and image.

    `given` are the options of `docker run` of the command line. `is_published`: the nodes pull `publication_tag`, with
    the login of the user.
    """

    replicas: int
    name: str | None = None
    given: Sequence[str] = ()
    is_published: bool = False


class _Source(NamedTuple):
    """Where nodes get an image: its name for docker, options, and what to do about a node that does not have it.

    `keep` is a tag to give to the image when it runs, for a rollback.
    """

    reference: str
    options: Sequence[str]
    missing: str
    keep: str = ""


def start(project: Project, image: Image, run: invocation.Run, request: Request, *, dry_run: bool = False) -> None:
    """Create the service of an image, or update it, and wait until it runs.

    `run` is the image as `docker run` would run it. UserError names the place of an option that services do not
    support; DockerutilsError says why the service does not run.
    """
    name = _name(project, image, request.name)
    with _manager(project) as manager:
        before = _own(manager, project, image, name)
        wanted = _wanted(manager, project, image, run, request)
        source = _source(manager, project, image, request)
        command = _update(before, wanted, request, source) if before else _create(name, wanted, request, source)
        known = {each["ID"] for each in manager.tasks(service=before["ID"])} if before else set()
        if command:
            process.run(command, dry_run=dry_run)
        if not command:
            console.note(_BY, f"{name} is up to date; to restart its containers: docker service update --force {name}")
        if not dry_run:
            monitor = service_fields.duration([_MONITOR, *wanted.values("update-monitor")][-1]) if command else 0
            _wait(manager, Goal(name, request.replicas, monitor / _SECOND, before, known, source.missing))
        if source.keep and at(before, _IMAGE) != source.reference:
            process.run(Command(["docker", "tag", image.reference, source.keep]), dry_run=dry_run)


def remove(project: Project, image: Image, given: str | None, *, dry_run: bool = False) -> None:
    """Remove the service of an image; if there is none, say so."""
    name = _name(project, image, given)
    with _manager(project) as manager:
        if _own(manager, project, image, name):
            process.run(Command(["docker", "service", "rm", name]), dry_run=dry_run, to_stderr=True)
            if not dry_run:
                with suppress(ApiError):
                    manager.untag(_kept(image))
        else:
            console.note(_BY, f"there is no service {name}")


def _wait(manager: Api, goal: Goal) -> None:
    try:
        nodes = service_watch.converge(manager, goal)
    except KeyboardInterrupt:
        console.note(_BY, f"the swarm continues with {goal.name}; see docker service ps {goal.name}")
        raise
    except Disconnected as error:
        raise DockerutilsError(
            f"the connection to the engine ended: {error}; the swarm continues, see docker service ps {goal.name}"
        ) from None
    count = f"{goal.replicas} replica{'' if goal.replicas == 1 else 's'} running"
    where = ", ".join(nodes)
    console.note(_BY, f"{goal.name}: {count} on {where}; follow the log: docker service logs -f {goal.name}")


def _name(project: Project, image: Image, given: str | None) -> str:
    """Return the name of an image's service: `given`, or `<project>-<image>`; UserError if `given` is not possible."""
    if given is not None and not re.fullmatch(_NAME, given):
        raise UserError(f"--name: {given!r} is not a service name; use letters, digits and dashes, 63 at most")
    return given or re.sub(r"[^A-Za-z0-9-]+", "-", f"{project.name}-{image.name}")[:63].strip("-")


@contextmanager
def _manager(project: Project) -> Iterator[Api]:
    """Connect to the engine of the shell; DockerutilsError, with what to run, unless it is a manager of a swarm."""
    with children() as family:
        try:
            socket = engine.local_socket(project.environ)
            words = ["docker", "system", "dial-stdio"]
            manager = api.local(socket) if socket else api.through(family.start(words, stdin=PIPE))
            family.at_end(manager.close)
            _require_manager(manager.info().get("Swarm") or {}, project)
            yield manager
        except Disconnected as error:
            engine.require(project.environ)  # its error says more
            raise engine.refusal(str(error)) from None
        except ApiError as error:
            raise engine.refusal(str(error)) from None


def _require_manager(swarm: Mapping[str, Any], project: Project) -> None:
    if swarm.get("ControlAvailable"):
        return
    moniker = project.environ.get("DOCK_MONIKER")
    where = f"dock {moniker}" if moniker else "the engine of this shell"
    if swarm.get("LocalNodeState") != "inactive":
        raise DockerutilsError(
            f"{where} is a worker of its swarm, and only a manager starts services; run: source dock MANAGER"
        )
    remedy = f"run: swarm-docks {moniker}" if moniker else "run: source dock MANAGER; swarm-docks makes docks a swarm"
    raise DockerutilsError(f"{where} is not in a swarm; {remedy}")


def _own(manager: Api, project: Project, image: Image, name: str) -> dict[str, Any]:
    """Return the service with a name, {} if there is none; UserError if it was started for another image."""
    found = manager.service(name)
    labels = at(found, "Spec.Labels") or {}
    if found and (labels.get(engine.PROJECT), labels.get(engine.IMAGE)) != (project.name, image.name):
        raise UserError(
            f"service {name} was not started for {image.name} of {project.name}; choose another name with --name"
        )
    return found


def _wanted(manager: Api, project: Project, image: Image, run: invocation.Run, request: Request) -> Wanted:
    """Return the options of the service, from those of `docker run` and from the key `service`."""
    settings = project.settings(image.name)
    refuse = _refusing(settings, request.given)
    words = [*run.init, *run.environment, *run.gpu, *run.network, *run.platform, *run.volumes, *run.ports, *run.args]
    _require_no_project(project, options.parse(words, RUN), refuse)
    given = [*service_options.from_run(words, refuse), *service_options.of_section(settings)]
    networks = {each["Name"]: each for each in manager.networks()}
    for each in given:
        if each.names == ("network",):
            _require_overlay(each, networks, refuse)
    given = [
        each for each in given if each.names != ("env",) or "=" in (each.value or "") or each.value in project.environ
    ]
    labels = [option("label", f"{engine.PROJECT}={project.name}"), option("label", f"{engine.IMAGE}={image.name}")]
    everything = [*labels, *_policy(given), *given]
    return Wanted(everything, run.cmd, {name: each["Id"] for name, each in networks.items()}, project.environ)


def _policy(given: Sequence[Option]) -> list[Option]:
    """Return the update policy of the service, without the parts that the options set.

    A replica that publishes a port of its host has to stop before the next one can start there. Without a delay docker
    can stop the next replica before it notices that the one before has failed.
    """
    is_host = any(ports.read(each.value or "").mode == "host" for each in given if each.names == ("publish",))
    order = "stop-first" if is_host else "start-first"
    policy = (
        option("update-order", order),
        option("update-delay", "1s"),
        option("update-failure-action", "rollback"),
        option("rollback-order", order),
    )
    return [each for each in policy if each.names not in {other.names for other in given}]


def _refusing(settings: Settings, given: Sequence[str]) -> service_options.Refuse:
    """Return a function that makes the error for an option of `docker run`, with the place of the option."""

    def refuse(each: Option, advice: str) -> UserError:
        if each in options.parse(given, RUN):
            return service_options.fault(None, each, advice)
        keys = [
            (settings.value(key), [(one.names, one.value) for one in options.parse(settings.options(key), RUN)])
            for key in _KEYS
        ]
        exact = [value for value, there in keys if (each.names, each.value) in there]
        similar = [value for value, there in keys if each.names in {names for names, _ in there}]
        own = [settings.value(name) for name in each.names if name in {"network", "platform"}]
        return service_options.fault(next(iter([*exact, *similar, *own]), None), each, advice)

    return refuse


def _require_no_project(project: Project, given: Sequence[Option], refuse: service_options.Refuse) -> None:
    """Raise UserError if an option mounts files of the project, which only one node has."""
    root = project_copy.path(project) if project.docked else project.root
    for each in given:
        if any(f"{os.path.normpath(path)}/".startswith(f"{root}/") for path in invocation.bound(each.words)):
            raise refuse(each, "only one node has the project's files; COPY them into the image")


def _require_overlay(each: Option, networks: Mapping[str, Mapping[str, Any]], refuse: service_options.Refuse) -> None:
    """Raise UserError, with what to do, unless a network spans the swarm."""
    name = options.fields(each.value or "").get("name", each.value or "")
    found = networks.get(name)
    if found and found.get("Scope") == "swarm":
        return
    problem = f"network {name} is on one node only" if found else f"there is no network {name}"
    line = shell_words.render(
        ["docker", "network", "create", "--driver", "overlay", "--attachable", name if not found else "NAME"]
    )
    raise refuse(each, f"{problem}; make one for the swarm: {line}")


def _source(manager: Api, project: Project, image: Image, request: Request) -> _Source:
    """Return where the nodes get an image: the registry of publication_tag, or what they have.

    A tag can mean another image on each node. So an image of the project goes by its id, for which nodes ask no
    registry, and an image from elsewhere by the digest that its registry has.
    """
    if request.is_published:
        missing = f"run: publish-image {image.name}, and docker login, then this command again"
        return _Source(_published(project, image), ["--with-registry-auth"], missing)
    missing = f"run: transfer-image {image.name} --swarm, then this command again"
    try:
        record = manager.image(image.reference)
    except Disconnected:
        raise
    except ApiError:  # docker asks the registry; run-image requires an image of the project, except in a dry run
        return _Source(image.reference, [], missing)
    if image.kind == CONFIGURED:
        name = engine.familiar(image.repository)
        digests = dict(each.split("@", 1) for each in record.get("RepoDigests") or ())
        if name in digests:
            return _Source(f"{name}:{image.tag}@{digests[name]}", ["--no-resolve-image"], missing)
    is_kept = engine.image_store_of(record) != engine.CONTAINERD
    return _Source(str(record["Id"]), ["--no-resolve-image"], missing, "" if is_kept else _kept(image))


def _kept(image: Image) -> str:
    """Return the tag that keeps the image of a service: with the containerd store, a build removes the previous one."""
    return f"{image.repository}:{image.tag[:_LONGEST_TAG]}-service"


def _published(project: Project, image: Image) -> str:
    """Return the first publication tag of an image; UserError if it has none."""
    settings = project.settings(image.name)

    def unknown() -> str:
        raise ValueError("a service cannot look up {account} and {region}; write them out")

    known = {"image": lambda: image.repository, "tag": lambda: image.tag}
    tags = settings.tags("publication_tag", {**known, "account": unknown, "region": unknown})
    if tags:
        return tags[0]
    raise UserError(
        f"{project.config.path}: [{image.name}]: publication_tag is missing; add it, or leave out --with-registry-auth "
        f"and run transfer-image {image.name} --swarm"
    )


def _create(name: str, wanted: Wanted, request: Request, source: _Source) -> Command:
    words, env = invocation.by_name(options.join(wanted.options), SERVICE, "env")
    first = ["docker", "service", "create", "--detach", "--name", name, "--replicas", str(request.replicas)]
    return Command([*first, *source.options, *words, source.reference, *wanted.command], env)


def _update(before: Mapping[str, Any], wanted: Wanted, request: Request, source: _Source) -> Command | None:
    """Return the command that updates a service as wanted, None if nothing changes."""
    spec = before["Spec"]
    words, env = invocation.by_name(service_changes.changes(spec, wanted), UPDATE, "env-add")
    # Only docker knows whether a registry has another image for the same name.
    if at(before, _IMAGE) != source.reference or "--no-resolve-image" not in source.options:
        words = [*source.options, "--image", source.reference, *words]
    if at(spec, "Mode.Replicated.Replicas") != request.replicas:
        words = ["--replicas", str(request.replicas), *words]
    return Command(["docker", "service", "update", "--detach", *words, spec["Name"]], env) if words else None
