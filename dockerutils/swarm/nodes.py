"""The engines of docks as nodes of a swarm: their state, and the commands that change it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerutils.core import process, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.core.process.children import Children
from dockerutils.docker.api import Api, ApiError, Disconnected
from dockerutils.docks import engine_api, remote
from dockerutils.docks.records import Dock
from dockerutils.docks.remote import RemoteHost
from dockerutils.docks.ssh_config import SSH_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator

# The states of an engine's membership, `Swarm.LocalNodeState` of `docker info`.
INACTIVE, ACTIVE, LOCKED = "inactive", "active", "locked"
READY, DOWN = "ready", "down"  # of a node, as managers see it
LABEL = "dock"  # of a node: the moniker of its dock
# Errors of a manager without a leader, and of one that is electing it.
_NO_LEADER = "does not have a leader|context deadline exceeded"
_ID = r"[a-z0-9]{1,40}"
_ADDRESS = r"[A-Za-z0-9_.:%\[\]-]{1,200}"
_TICK = 0.2  # seconds between two polls

# The address at which ssh arrives is the dock's own, even behind network address translation.
_ASK_FOR_ADDRESS = 'echo "dockerutils address $SSH_CONNECTION"'


class Node(NamedTuple):
    """The engine of a dock: `docker` is the docker command there, `engine` a connection to its API.

    `swarm` is what it says about its swarm, as `Swarm` in https://docs.docker.com/reference/api/engine/, operation
    SystemInfo. `address` is the dock's own at which ssh arrived, "" if that is not known.
    """

    dock: Dock
    host: RemoteHost
    docker: str
    engine: Api
    swarm: Mapping[str, Any]
    address: str = ""

    @property
    def name(self) -> str:
        """The moniker of the dock."""
        return self.dock.moniker

    @property
    def state(self) -> str:
        """The state of its membership."""
        return str(self.swarm.get("LocalNodeState") or INACTIVE)

    @property
    def id(self) -> str:
        """Its id in the swarm, "" for none."""
        # The engine says it, and it is printed in lines for the shell.
        found = str(self.swarm.get("NodeID") or "")
        return found if re.fullmatch(_ID, found) else ""

    @property
    def is_manager(self) -> bool:
        """Whether it is a manager."""
        return bool(self.swarm.get("ControlAvailable"))

    @property
    def manager_address(self) -> str:
        """Where nodes reach the swarm: the address and port of this manager, or of a manager that this node knows."""
        known = self.swarm.get("RemoteManagers") or ()
        # As the id.
        managers = {each["NodeID"]: each["Addr"] for each in known if re.fullmatch(_ADDRESS, str(each["Addr"]))}
        return str(managers.get(self.id) or next(iter(managers.values()), ""))

    def refreshed(self) -> Node:
        """Return the same node as it is now."""
        return self._replace(swarm=self.ask(self.engine.info)["Swarm"])

    def ask(self, question: Callable[..., Any], *args: str, **options: str) -> Any:
        """Call a method of `engine`; DockerutilsError says what the engine refuses."""
        with refusals(self.name):
            return question(*args, **options)

    def line(self, *words: str) -> str:
        """Return a docker command as a line for the dock's shell."""
        return f"{self.docker} {shell_words.render(words)}"

    def command(self, line: str) -> Command:
        """Return the command that runs a line on the dock."""
        return Command(self.host.argv(line))

    def run(self, line: str, *, dry_run: bool = False) -> None:
        """Print and run a line on the dock; its output goes to stderr."""
        try:
            process.run(self.command(line), dry_run=dry_run, escaped=(STDOUT, STDERR))
        except CommandFailed as error:
            if error.status == SSH_FAILED:
                raise CommandFailed(error.status, self.host.explain(error.stderr)) from error
            raise


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn errors of an engine in the block into DockerutilsError with the name of the dock."""
    try:
        yield
    except Disconnected as error:
        raise DockerutilsError(f"the connection to the engine of dock {name} was cut; run the command again") from error
    except ApiError as error:
        if re.search(_NO_LEADER, str(error)):
            raise DockerutilsError(
                f"the swarm of dock {name} has no leader, because half of its managers or more do not answer; start "
                f"them, or make {name} the only manager: ssh-dock {name} docker swarm init --force-new-cluster"
            ) from error
        reason = re.sub(r"^(rpc error: )?(code = \w+ desc = )?", "", str(error)).rstrip(".")
        raise DockerutilsError(f"dock {name}: {reason}; see: ssh-dock {name} docker info") from error


Answer = Node | DockerutilsError


def ask(docks: Iterable[Dock], children: Children) -> dict[Dock, Answer]:
    """Ask the engines of docks at the same time; for a dock that cannot be asked, the answer is the error."""
    hosts = {dock: remote.of(dock) for dock in docks}
    remote.drop_dead_connections([*hosts.values()])
    dials = {dock: engine_api.dial(host, children, _ASK_FOR_ADDRESS) for dock, host in hosts.items()}
    answers: dict[Dock, Answer] = {}
    for dock, host in hosts.items():
        try:
            found = engine_api.connect(host, dials[dock])
        except DockerutilsError as error:
            answers[dock] = error
            continue
        address = re.search(r"(?m)^dockerutils address \S+ \d+ ([\w.:]+) \d+$", found.text)
        swarm = found.info.get("Swarm") or {}
        answers[dock] = Node(dock, host, str(found.docker), found.engine, swarm, address[1] if address else "")
    return answers


def connect(docks: Sequence[Dock], children: Children) -> list[Node]:
    """Return the engines of docks; DockerutilsError names the first that cannot be asked, and why."""
    found = []
    for dock, answer in ask(docks, children).items():
        if isinstance(answer, DockerutilsError):
            raise CommandFailed(answer.status, about(dock, answer))
        found.append(answer)
    return found


def about(dock: Dock, error: DockerutilsError) -> str:
    """Return an error with the name of the dock."""
    name = f"dock {dock.moniker}"
    return str(error) if name in str(error) else f"{name}: {error}"


def listed(manager: Node) -> dict[str, dict[str, Any]]:
    """Return the nodes of a manager's swarm by id; see Node in https://docs.docker.com/reference/api/engine/."""
    return {each["ID"]: each for each in manager.ask(manager.engine.nodes)}


def label(node: Mapping[str, Any]) -> str:
    """Return the moniker of a node's dock, "" if the node has no such label."""
    return str(node["Spec"].get("Labels", {}).get(LABEL) or "")


def host_name(node: Mapping[str, Any]) -> str:
    """Return the host name of a node."""
    return str(node["Description"].get("Hostname") or node["ID"])


def names(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of nodes by id: the monikers of their docks, else their host names."""
    return {node["ID"]: label(node) or host_name(node) for node in found}


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true, at most for `seconds`; return whether it is."""
    deadline = time.monotonic() + seconds
    while not (is_met := condition()) and time.monotonic() < deadline:
        time.sleep(_TICK)
    return is_met
