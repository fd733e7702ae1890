"""The options of `docker run`, `docker build` and `docker service create`, read as docker reads them.

Docker uses pflag (https://pkg.go.dev/github.com/spf13/pflag#readme-command-line-flag-syntax): `--name value`,
`--name=value`, `-n value`, `-nvalue`, `-n=value`, and clusters of letters such as `-it` or `-dp 8080:80`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.shell_words import Word
from dockerutils.core.suggestions import nearest

_WRITE_THE_OPTION = "write the option before it, as in -e NAME=value"
FALSE = {"0", "f", "F", "false", "FALSE", "False"}  # strconv.ParseBool in Go
_SIMILAR = 0.75  # difflib's ratio


class Table(NamedTuple):
    """The options of one docker command, such as `run`, by their long names, and the long name of each letter."""

    command: str
    valued: frozenset[str]
    switches: frozenset[str]
    letters: Mapping[str, str]


class Option(NamedTuple):
    """An option as it was written: its long names, several for a cluster of switches, its value and its words.

    `value` is None for a switch, and for an option whose value is missing. A word that is not an option has no names.
    """

    names: tuple[str, ...]
    value: str | None
    words: tuple[str, ...]


def _table(command: str, valued: str, switches: str) -> Table:
    """Make a table of names, each with its letter after a comma if it has one."""
    pairs = [row.partition(",") for row in f"{valued} {switches}".split()]
    takes_value, is_switch = (frozenset(row.partition(",")[0] for row in rows.split()) for rows in (valued, switches))
    return Table(command, takes_value, is_switch, {letter: name for name, _, letter in pairs if letter})


# Of Docker 20.10 to 28, with options that `--help` hides; a test compares them with `--help`.
RUN = _table(
    "run",
    valued="""
        add-host annotation attach,a blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
        cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus cpuset-cpus
        cpuset-mems detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps
        device-write-iops dns dns-opt dns-option dns-search domainname entrypoint env,e env-file expose gpus group-add
        health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname,h
        io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label,l label-file link link-local-ip log-driver
        log-opt mac-address memory,m memory-reservation memory-swap memory-swappiness mount name net net-alias network
        network-alias oom-score-adj pid pids-limit platform publish,p pull restart runtime security-opt shm-size
        stop-signal stop-timeout storage-opt sysctl tmpfs ulimit user,u userns uts volume,v volume-driver volumes-from
        workdir,w
    """,
    switches="""
        detach,d disable-content-trust help init interactive,i no-healthcheck oom-kill-disable privileged
        publish-all,P quiet,q read-only rm sig-proxy tty,t use-api-socket
    """,
)
BUILD = _table(
    "build",
    valued="""
        add-host allow annotation attest build-arg build-context builder cache-from cache-to call cgroup-parent
        cpu-period cpu-quota cpu-shares,c cpuset-cpus cpuset-mems file,f iidfile isolation label memory,m memory-swap
        metadata-file network no-cache-filter output,o platform progress provenance sbom secret security-opt shm-size
        ssh tag,t target ulimit
    """,
    switches="""
        check compress debug,D disable-content-trust force-rm help,h load no-cache pull push quiet,q rm squash stream
    """,
)
# Of docker service create, without those that run-image sets itself. LISTED are those that can be given several times.
LISTED = """
    cap-add cap-drop config constraint container-label dns dns-option dns-search env,e generic-resource group host
    label,l mount network placement-pref publish,p secret sysctl ulimit
"""
SERVICE = _table(
    "service create",
    valued=f"""{LISTED}
        endpoint-mode entrypoint health-cmd health-interval health-retries health-start-interval health-start-period
        health-timeout hostname limit-cpu limit-memory limit-pids log-driver log-opt oom-score-adj
        replicas-max-per-node reserve-cpu reserve-memory restart-condition restart-delay restart-max-attempts
        restart-window rollback-delay rollback-failure-action rollback-max-failure-ratio rollback-monitor
        rollback-order rollback-parallelism stop-grace-period stop-signal update-delay update-failure-action
        update-max-failure-ratio update-monitor update-order update-parallelism user,u workdir,w
    """,
    switches="init no-healthcheck read-only tty,t",
)


def parse(words: Sequence[str], table: Table) -> list[Option]:
    """Split words into options. A cluster that ends in an option with a value becomes two options."""
    options: list[Option] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            options += [Option((), None, (each,)) for each in (word, *rest)]
        elif word.startswith("--"):
            options.append(_long(word, rest, table))
        elif word.startswith("-") and word != "-":
            options += _short(word, rest, table)
        else:
            options.append(Option((), None, (word,)))
    return options


def join(options: Iterable[Option]) -> list[str]:
    """Return the words of options."""
    return [word for option in options for word in option.words]


def without(words: Sequence[str], table: Table, name: str) -> list[str]:
    """Return words without the option that has this long name and its values."""
    return join(option for option in parse(words, table) if option.names != (name,))


def values(words: Sequence[str], table: Table, name: str) -> list[str]:
    """Return the values of the option with this long name, from words."""
    return [option.value for option in parse(words, table) if option.names == (name,) and option.value is not None]


def fields(value: str) -> dict[str, str]:
    """Return the fields of a value such as `type=bind,source=/data`, by their names in lower case."""
    return {name.lower(): text for name, _, text in (field.partition("=") for field in value.split(","))}


def is_on(words: Sequence[str], table: Table, switch: str) -> bool:
    """Return whether words turn a switch on; the last of several counts."""
    given = [option.value not in FALSE for option in parse(words, table) if switch in option.names]
    return given[-1:] == [True]


def fault(words: Sequence[str], table: Table, advice: str = _WRITE_THE_OPTION) -> str:
    """Return what is wrong with words that should be options: docker would take the image's name for a value.

    An empty string if nothing is wrong. What follows an option that is not in the table passes: it can be its value.
    `advice` says what to write for a word that is not an option; `{}` in it becomes the word.
    """
    known = table.valued | table.switches
    follows_known = True
    for option in parse(words, table):
        if not option.names and follows_known:
            word = shell_words.quote(option.words[0])
            return f"{word} is not a docker option; {advice.format(word)}"
        if option.value is None and len(option.names) == 1 and option.names[0] in table.valued:
            return f"{option.words[0]} has no value; write one after it"
        follows_known = known.issuperset(option.names)
    return ""


def unknown(words: Sequence[str], table: Table) -> list[tuple[str, str]]:
    """Return the options that the docker command does not have, each with a similar one, or "".

    A long option without a similar one is left out: it can be an option of another version of docker, or of podman.
    """
    known = table.valued | table.switches
    found = []
    for option in parse(words, table):
        for name in option.names:
            if name in known:
                continue
            is_letter = len(name) == 1
            near = "" if is_letter else nearest(name, sorted(known), at_least=_SIMILAR)
            if is_letter or near:
                found.append((f"-{name}" if is_letter else f"--{name}", near and f"--{near}"))
    return found


def _long(word: str, rest: Iterator[str], table: Table) -> Option:
    """Read `--name`, `--name=value` or `--name value`."""
    name, equals, _ = word[2:].partition("=")
    if equals:
        value = _rest_of(word, len(f"--{name}="))
        return Option((), None, (word,)) if value is None else Option((name,), value, (word,))
    value = next(rest, None) if name in table.valued else None
    return Option((name,), value, (word,) if value is None else (word, value))


def _short(word: str, rest: Iterator[str], table: Table) -> list[Option]:
    """Read a letter or a cluster of letters, the last of which can have a value."""
    switches: list[str] = []
    for index, letter in enumerate(word[1:], start=1):
        name = table.letters.get(letter, letter)
        has_equals = word[index + 1 : index + 2] == "=" and len(word) > index + 2
        if not has_equals and name not in table.valued:
            switches.append(name)
            continue
        own = word if index == 1 else _rest_of(word, index, "-")
        value = _rest_of(word, index + 2 if has_equals else index + 1)
        if own is None or value is None:  # a reference to the environment begins among the letters
            return [Option((), None, (word,))]
        words: tuple[str, ...] = (own,)
        if not value:
            value = next(rest, None)
            words = (own,) if value is None else (own, value)
        before = [Option(tuple(switches), None, (word[:index],))] if switches else []
        return [*before, Option((name,), value, words)]
    return [Option(tuple(switches), None, (word,))]


def _rest_of(word: str, start: int, prefix: str = "") -> str | None:
    """Return `prefix` and `word` from `start` on; None when a reference to the environment begins before that."""
    if not isinstance(word, Word):
        return prefix + word[start:]
    if word.template[:start] != word[:start]:
        return None
    return Word(prefix + word[start:], prefix + word.template[start:])
