"""An image of this machine's engine, and what the engine knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Children
from dockerutils.docker import api, engine, platforms
from dockerutils.docker.api import Api, ApiError, Disconnected


class MissingError(DockerutilsError):
    """The engine of this machine does not have the image."""


class Source(NamedTuple):
    """An image of this machine's engine: its full name and tag, its id, its layers, its platform, such as linux/amd64.

    `platforms` are those that the engine has all of, its own first. `driver` and `root` say where the engine stores
    images; `environ` is the environment that leads docker to the engine. `socket` is the Unix socket of an engine that
    pushes layers as it stores them: one with the containerd image store.
    """

    reference: str
    image_id: str
    diff_ids: tuple[str, ...]
    platform: str
    platforms: tuple[str, ...]
    driver: str
    root: str
    environ: Mapping[str, str]
    socket: str | None

    def on(self, platform: str, children: Children) -> Source:
        """Return the image for another platform; DockerutilsError if the engine does not answer."""
        if platform == self.platform:
            return self
        try:
            with closing(_connected(children, self.environ)) as here:
                record = here.image(self.reference, platform)
        except ApiError as error:
            raise DockerutilsError(f"the engine here does not show {self.reference} for {platform}: {error}") from error
        if platforms.normal(_platform(record)) != platforms.normal(platform):
            raise DockerutilsError(
                f"the engine here does not show {self.reference} for {platform}; update docker to 28.1"
            )
        return self._replace(diff_ids=_diff_ids(record), platform=platform)


def inspect(reference: str, children: Children, environ: Mapping[str, str]) -> Source:
    """Return what the engine knows of an image; MissingError without it, DockerutilsError without an engine."""
    try:
        with closing(_connected(children, environ)) as here:
            info, record = here.info(), here.image(reference)
            pushes = not api.is_classic(info)
            manifests = here.manifests(engine.familiar(reference)) if pushes else ()
    except Disconnected:
        version = children.start(["docker", "version", "--format", "{{.Server.Version}}"], environ=environ)
        version.finish()
        raise engine.refusal(version.stderr) from None
    except ApiError as error:
        if "no such image" in str(error).lower():
            raise MissingError(
                f"{engine.familiar(reference)} does not exist on this engine; build or pull it"
            ) from None
        raise engine.refusal(str(error)) from None
    # The files of an engine on another machine are there.
    socket = engine.local_socket(environ)
    own = _platform(record)
    complete = [api.platform_of(each) for each in manifests if each.get("Kind") == "image" and each["Available"]]
    return Source(
        reference,
        record["Id"],
        _diff_ids(record),
        own,
        tuple(dict.fromkeys((own, *complete))),
        info["Driver"] if socket else "",
        info["DockerRootDir"] if socket else "",
        environ,
        socket if pushes else None,
    )


def _connected(children: Children, environ: Mapping[str, str]) -> Api:
    if socket := engine.local_socket(environ):
        return api.local(socket)
    return api.through(children.start(["docker", "system", "dial-stdio"], stdin=PIPE, environ=environ))


def _platform(record: Mapping[str, Any]) -> str:
    return "/".join(record[key] for key in ("Os", "Architecture", "Variant") if record.get(key))


def _diff_ids(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(record["RootFS"].get("Layers") or ())
