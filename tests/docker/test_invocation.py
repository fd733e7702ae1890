"""The command lines of docker: what is printed, and what is executed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from dockerutils.core.shell_words import substitute
from dockerutils.docker import invocation
from dockerutils.docker.invocation import Build, Run
from dockerutils.docker.options import RUN
from tests.support import program

ENVIRON = {"U": "bob", "P": "s3cret", "TOKEN": "t0ken", "PATH": "/bin"}


def _words(*texts: str) -> list[str]:
    return [substitute(text, {}, ENVIRON) for text in texts]


EVERYTHING = Run(
    reference="app-dev:ann",
    name="ann_dev_now",
    init=["--init"],
    environment=["-e", "A=1"],
    interactive=["-it"],
    gpu=["--gpus", "all"],
    network=["--network", "net"],
    volumes=["-v", "/a b:/c"],
    ports=["-p", "80:80"],
    args=["--cpus", "2"],
    cmd=["sh", "-c", "echo $HOME"],
)


@pytest.mark.parametrize(
    ("facts", "argv"),
    [
        pytest.param(Run("i:t", "n"), "docker run --name n --rm i:t", id="least"),
        pytest.param(
            EVERYTHING,
            "docker run --init --name ann_dev_now -e A=1 --rm -it --gpus all --network net"
            " -v '/a b:/c' -p 80:80 --cpus 2 app-dev:ann sh -c 'echo $HOME'",
            id="order",
        ),
        pytest.param(
            EVERYTHING._replace(remove=False, gpu=[], volumes=[], ports=[], args=[], cmd=[]),
            "docker run --init --name ann_dev_now -e A=1 -it --network net app-dev:ann",
            id="not removed",
        ),
    ],
)
def test_run(facts: Run, argv: str) -> None:
    assert str(invocation.run(facts, ".")) == argv


def test_build() -> None:
    assert invocation.build(Build("i:t", "docker/d/Dockerfile", ["--pull"]), "/r").argv == (
        "docker build -t i:t -f docker/d/Dockerfile --pull .".split()
    )
    assert invocation.build(Build("i-builder:t", "docker/d/Dockerfile", stage="Builder"), "/r").argv == (
        "docker build -t i-builder:t -f docker/d/Dockerfile --target Builder .".split()
    )


@pytest.mark.parametrize(
    ("options", "argv", "env"),
    [
        pytest.param(["-e", "A=1"], ["-e", "A=1"], {}, id="a literal stays"),
        pytest.param(["-e", "URL=http://$U:$P@h"], ["-e", "URL"], {"URL": "http://bob:s3cret@h"}, id="mixed"),
        pytest.param(["--env=X=$TOKEN"], ["-e", "X"], {"X": "t0ken"}, id="renamed"),
        pytest.param(["-eX=$TOKEN"], ["-e", "X"], {"X": "t0ken"}, id="attached"),
        pytest.param(["--env", "TOKEN=$TOKEN"], ["-e", "TOKEN"], {}, id="itself"),
        pytest.param(["-e", "TOKEN=${TOKEN}"], ["-e", "TOKEN"], {}, id="itself, braced"),
        pytest.param(["-e", "TOKEN"], ["-e", "TOKEN"], {}, id="by name already"),
        pytest.param(["-e", "PATH=/code:$PATH"], ["-e", "PATH=/code:/bin"], {}, id="what docker itself reads"),
        pytest.param(["-ite", "X=$TOKEN"], ["-it", "-e", "X"], {"X": "t0ken"}, id="at the end of a cluster"),
        pytest.param(["-iteX=$TOKEN"], ["-it", "-e", "X"], {"X": "t0ken"}, id="attached to a cluster"),
        pytest.param(["-e=X=$TOKEN"], ["-e", "X"], {"X": "t0ken"}, id="attached with ="),
        pytest.param(["--label", "-e", "X=$TOKEN"], ["--label", "-e", "X=t0ken"], {}, id="the value of another option"),
        pytest.param(["-e", "a-b=$TOKEN"], ["-e", "a-b=t0ken"], {}, id="a name that sh cannot assign"),
        pytest.param(["-e", "UID=$TOKEN"], ["-e", "UID=t0ken"], {}, id="a name that bash does not assign"),
        pytest.param(["-v", "$TOKEN:/x"], ["-v", "t0ken:/x"], {}, id="no variable"),
        pytest.param(["-e", "$U=1"], ["-e", "bob=1"], {}, id="name is a reference"),
    ],
)
def test_values_from_the_environment_go_by_name(options: list[str], argv: list[str], env: dict[str, str]) -> None:
    kept, values = invocation.by_name(_words(*options), RUN, "env")
    assert (kept, values) == (argv, env)


def test_build_arguments_go_by_name_too() -> None:
    options = _words(
        "--build-arg", "INDEX=http://$U:$P@h", "--build-arg=TOKEN=$TOKEN", "--build-arg", "A=1", "--label", "u=$U"
    )
    command = invocation.build(Build("i:t", "f", options), ".")
    assert command.argv[6:-1] == [
        "--build-arg",
        "INDEX",
        "--build-arg",
        "TOKEN",
        "--build-arg",
        "A=1",
        "--label",
        "u=bob",
    ]
    assert command.env == {"INDEX": "http://bob:s3cret@h"}


def test_no_secret_stands_in_the_arguments_or_in_what_is_shown() -> None:
    command = invocation.run(Run("i:t", "n", environment=_words("-e", "URL=http://$U:$P@h")), ".")
    assert "s3cret" not in " ".join(command.argv)
    assert str(command) == 'URL="http://$U:$P@h" docker run --name n -e URL --rm i:t'


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["-e", "A=1", "-e", "B=2", "--env=A=3"], ["-e", "B=2", "--env=A=3"]),
        (["-e", "A", "--env-file", "f", "-eA=1"], ["--env-file", "f", "-eA=1"]),
        (["-e", "A=1", "-e", "A"], ["-e", "A"]),
        (["-e", "A=$TOKEN", "-e", "A=1"], ["-e", "A=1"]),
        (["-e"], ["-e"]),
    ],
)
def test_the_last_value_of_a_variable_wins(options: list[str], kept: list[str]) -> None:
    assert invocation.by_name(_words(*options), RUN, "env") == (kept, {})


@pytest.mark.parametrize(
    ("interactive", "kept"),
    [
        (["-it"], ["-i"]),
        (["-ti"], ["-i"]),
        (["-i", "-t"], ["-i"]),
        (["-i", "--tty"], ["-i"]),
        (["-i", "--tty=true"], ["-i"]),
        (["-itd"], ["-id"]),
        (["-ite", "t=t"], ["-i", "-e", "t=t"]),
        (["-d"], ["-d"]),
    ],
)
def test_no_terminal_is_asked_for_where_there_is_none(interactive: list[str], kept: list[str]) -> None:
    assert invocation.without_terminal(interactive) == kept


@pytest.mark.parametrize(
    ("facts", "detached"),
    [
        (Run("i", "n"), False),
        (Run("i", "n", interactive=["-d"]), True),
        (Run("i", "n", args=["-dp", "8080:80"]), True),
        (Run("i", "n", args=["-dit"]), True),
        (Run("i", "n", interactive=["-d"], args=["--detach=false"]), False),
        (Run("i", "n", args=["--label", "-d"]), False),
    ],
)
def test_detached(facts: Run, detached: bool) -> None:
    assert invocation.is_detached(facts) is detached


@pytest.mark.parametrize(
    ("words", "by", "kept"),
    [
        ("-e A=1 -eB=2 --env=C=3 -e D", "-e B -e C=0 --env D=1", "-e A=1"),
        ("-v a:/x -v b:/y:ro --mount type=bind,src=/h,target=/z -v /only", "-v c:/x/ -v d:/z -v e:/only", "-v b:/y:ro"),
        ("-v /x:/y", "-v /y:/x", "-v /x:/y"),
        ("--tmpfs /t:size=1m -v a:/b", "--mount type=tmpfs,dst=/t", "-v a:/b"),
        ("-dp 8080:80 -p 81:81/tcp --publish=8:80 -e A=80:80", "-p 9:80", "-d -p 81:81/tcp -e A=80:80"),
        ("-p 53:53/udp -p 53:53 -p [::1]:8:80", "-p 54:53/udp -p 127.0.0.1::80", "-p 53:53"),
        ("-p 8000-8002:80-82 -p 7:7", "-p 80-82", "-p 7:7"),
        ("-p 8000-8002:80-82", "-p 81:81", "-p 8000-8002:80-82"),
        ("-p published=80,target=8000 -p $P", "-p 1:8000", "-p $P"),
        ("-p published=80-81,target=8000-8001 -p 7:7", "-p target=8000 -p target=8001,published=2", "-p 7:7"),
        ("-p published=53,target=53,protocol=UDP -p target=53", "-p 53/udp", "-p target=53"),
        ("--gpus all", "--gpus 1", ""),
        ("--cpus 2 --device a -it --label x", "--cpus 3 --device a -it --label x", "--cpus 2 --device a -it --label x"),
        ("-e", "-e A", "-e"),
    ],
)
def test_options_that_set_the_same_are_overridden(words: str, by: str, kept: str) -> None:
    assert invocation.without_overridden(words.split(), by.split()) == kept.split()


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        pytest.param("-p 8888:80", [("", 8888)], id="a port"),
        pytest.param("-p8888:80 --publish=81:81/tcp --publish 82:82", [("", 8888), ("", 81), ("", 82)], id="spellings"),
        pytest.param("-dp 8888:80 -itp81:81", [("", 8888), ("", 81)], id="clusters"),
        pytest.param("-p=8888:80", [("", 8888)], id="a letter with ="),
        pytest.param("--label -p 8888:80", [], id="the value of another option"),
        pytest.param("-p 1-99999999999:1 -p 7-6:80", [], id="impossible ranges"),
        pytest.param("-p 127.0.0.1:8888:80", [("127.0.0.1", 8888)], id="an address"),
        pytest.param("-p [::1]:8888:80", [("::1", 8888)], id="IPv6"),
        pytest.param("-p 8000-8002:80-82", [("", 8000), ("", 8001), ("", 8002)], id="a range"),
        pytest.param("-p 80 -p 127.0.0.1::80 -P", [], id="the engine's choice"),
        pytest.param("-p 53:53/udp", [], id="UDP"),
        pytest.param("-p 53:53/UDP -p 80:80/TCP", [("", 80)], id="protocols in upper case"),
        pytest.param("-p published=8000,target=80", [("", 8000)], id="the long form"),
        pytest.param("--publish mode=host,target=80,published=8000,protocol=TCP", [("", 8000)], id="any order"),
        pytest.param("-p published=8000-8001,target=80-81", [("", 8000), ("", 8001)], id="a range in the long form"),
        pytest.param("-p published=[::1]:8000,target=80", [("::1", 8000)], id="an address in the long form"),
        pytest.param("-p published=53,target=53,protocol=udp", [], id="UDP in the long form"),
        pytest.param("-p target=80 -p published=0,target=80 -p 0:80", [], id="the engine's choice, written otherwise"),
        pytest.param("-p what:80 -v /a:/b --pull always", [], id="something else"),
    ],
)
def test_published_ports(options: str, ports: list[tuple[str, int]]) -> None:
    assert invocation.published(options.split()) == ports


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        pytest.param("-v /a:/b --volume=/c:/d:ro -v named:/e -v /only", ["/a", "/c"], id="volumes"),
        pytest.param(
            "--mount type=bind,source=/a,target=/b --mount=type=bind,src=/c,dst=/d", ["/a", "/c"], id="mounts"
        ),
        pytest.param("--mount type=volume,source=/a,target=/b --mount type=bind,target=/b", [], id="of other kinds"),
        pytest.param("-itv /a:/b", ["/a"], id="a cluster"),
        pytest.param("-e /a:/b", [], id="something else"),
    ],
)
def test_mounted_paths(options: str, paths: list[str]) -> None:
    assert invocation.bound(options.split()) == paths


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a `docker` that prints its arguments and its environment."""
    directory = tmp_path_factory.mktemp("bin with a space")
    program(directory / "docker", "for word do printf '%s\\0' \"$word\"; done\nexec env -0")
    return directory


_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_VALUES = st.text(_CHARACTERS | st.sampled_from("\x1b\r\n\x81\udc81\udcff'\"$`\\"), max_size=6)
_PIECES = [
    "$A",
    "${B}",
    "$C",
    "${D}",
    "$$",
    "$$A",
    "x",
    " ",
    '"',
    "'",
    "\\",
    "`",
    "$(id)",
    "*",
    "\n",
    "é",
    "\x1b[8m",
    "\x9b",
]
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=4).map("".join)
_VARIABLES = st.sampled_from(["A", "B", "C", "D", "NEW", "PATH", "UID", "a-b"])
_OPTIONS = st.one_of(
    st.tuples(st.just("-e"), st.builds("{}={}".format, _VARIABLES, _TEXTS)),
    st.builds("-ite{}={}".format, _VARIABLES, _TEXTS).map(lambda word: (word,)),
    st.tuples(st.just("-e"), _VARIABLES),
    st.tuples(st.just("-v"), _TEXTS.map("v{}".format)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_OPTIONS, max_size=6),
    st.lists(_VALUES, max_size=2),
    st.fixed_dictionaries(dict.fromkeys("ABCD", _VALUES)),
    st.booleans(),
)
def test_the_printed_line_run_by_sh_gives_the_same_environment_and_arguments(
    recorder: Path, options: list[tuple[str, ...]], cmd: list[str], environ: dict[str, str], elsewhere: bool
) -> None:
    base = {"PATH": f"{recorder}:{os.environ['PATH']}", **environ}
    try:
        words = [substitute(text, {}, base) for option in options for text in option]
    except ValueError:  # $A and x have met: $Ax is not set
        reject()
    directory = str(recorder) if elsewhere else "."
    command = invocation.run(Run("i:t", "n", environment=words, cmd=cmd), directory)

    def output(argv: list[str], env: dict[str, str], cwd: str) -> tuple[list[bytes], set[bytes]]:
        out = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, check=True).stdout.split(b"\0")[:-1]
        arguments, variables = out[: len(command.argv) - 1], out[len(command.argv) - 1 :]
        # What a shell sets for itself.
        return arguments, {each for each in variables if not each.startswith((b"_=", b"PWD=", b"OLDPWD=", b"SHLVL="))}

    executed = output(command.argv, {**base, **command.env}, directory)
    assert output(["sh", "-c", str(command)], base, ".") == executed
    assert executed[0] == [os.fsencode(word) for word in command.argv[1:]]
