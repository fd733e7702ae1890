"""dockerutils completion in real shells: the result of TAB, and that no name is ever evaluated."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands import run_image, transfer_image
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import write_tree

BIN = Path(sys.executable).parent
SHELLS = ("bash", "zsh", "fish")

# Functions that replace these commands and print their arguments.
SHOWING = [
    *("build-image", "run-image", "transfer-image", "sync-up", "start-dock", "dockerutils", "image-script"),
    *("register-dock", "find-image", "create-dock", "ssh-dock"),
]
_FUNCTION = "{}() {{ printf '4'2:; printf '<%s>' \"$@\"; printf ':2'4'\\n'; }}"

# ^Xa inserts all possible completions.
RC = {
    "bash": [
        "source <(dockerutils completion bash)",
        *map(_FUNCTION.format, [*SHOWING, "source"]),
        "bind '\"\\C-xa\": insert-completions' 'set bell-style none'",
        "PS1='ready> '",
    ],
    "zsh": [
        "source <(dockerutils completion zsh)",
        *map(_FUNCTION.format, [*SHOWING, "source"]),
        "zle -C insert-all complete-word _generic",
        "zstyle ':completion:insert-all:*' completer _all_matches _complete",
        "zstyle ':completion:insert-all:*' insert yes",
        "bindkey '^Xa' insert-all",
        "PS1='ready> '",
    ],
    "fish": [
        "dockerutils completion fish | source",
        *(f"function {name}; printf '4'2:; printf '<%s>' $argv; printf ':2'4'\\n'; end" for name in SHOWING),
        "function fish_prompt; echo -n 'ready> '; end",
        "function fish_greeting; end",
    ],
}
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}

ODD = ["$(touch HACKED)", "`touch HACKED`", ";touch HACKED", "it's odd", 'say "x" \\ &', "-x", "ü 7"]


class Terminal:
    """A shell in a terminal, with completion."""

    def __init__(self, shell: str, directory: Path, enable: str | None = None) -> None:
        """Start a shell with the completion, or what the line `enable` loads."""
        self._shell = shell
        lines = [enable or RC[shell][0], *RC[shell][1:]]
        rc = write_tree(directory, {f"rc.{shell}": "\n".join(lines) + "\n"}) / f"rc.{shell}"
        environ = {**os.environ, "TERM": "dumb", "PS1": "first> ", "INPUTRC": "/dev/null"}
        environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
        name, *argv = START[shell] if enable is None else [each for each in START[shell] if each != "--no-config"]
        self._child = pexpect.spawn(
            name, argv, cwd=str(directory), env=environ, encoding="utf-8", timeout=120, dimensions=(50, 500)
        )
        # `source` is not one of the functions yet.
        self._child.send(f"source {shlex.quote(str(rc))}; echo loa''ded\r")
        self._child.expect_exact("loaded\r\n")
        self.shown = ""

    def type(self, keys: str) -> list[str]:
        """Type a line, and return the arguments of the command that runs."""
        self._child.expect_exact("ready> ")
        self._child.send(f"{keys}\r")
        self._child.expect(r"42:(.*?):24\r\n")
        self.shown += str(self._child.before)
        assert isinstance(self._child.match, re.Match)
        return re.findall("<(.*?)>", self._child.match[1])

    def do(self, line: str) -> None:
        """Type a line without output."""
        self._child.expect_exact("ready> ")
        self._child.send(f"{line}; echo do''ne\r")
        self._child.expect_exact("done\r\n")

    def close(self) -> None:
        self._child.close(force=True)


@pytest.fixture
def directory(tmp_path) -> Path:
    """Return a project with images of all kinds and two docks."""
    inventory.register(Dock("gpu", "203.0.113.7", "ada", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    inventory.register(Dock("big", "fe80::7", "ada", "fe80::7", "fe80::7"), os.environ["HOME"])
    config = "[run_image]\nsynthetic_images = shell\n[shell]\nname = dev\n[lab]\nname = org/lab\nprefix = False\n"
    return write_tree(
        tmp_path / "app",
        {"docker/dev/Dockerfile": "", "docker/base/Dockerfile": "", "docker/dockerutils.cfg": config, "file 1": ""},
    )


@pytest.fixture(params=SHELLS)
def terminal(request, directory) -> Iterator[Terminal]:
    terminal = Terminal(request.param, directory)
    yield terminal
    terminal.close()


TYPED = {
    "build-image de\t": ["dev"],
    "build-image al\t": ["all"],
    "build-image --force\t sh\t": ["--force-build-base", "shell"],
    "build-image -i x -t y la\t --pu\t": ["-i", "x", "-t", "y", "lab", "--pull-base"],
    "run-image dev --env LOGNA\t --sy\t": ["dev", "--env", "LOGNAME", "--sync"],
    "run-image dev -- fil\t": ["dev", "--", "file 1"],
    "run-image dev -n de\t": ["dev", "-n", "de"],
    "run-image --shm-size 1g de\t fil\t": ["--shm-size", "1g", "dev", "file 1"],
    "run-image dev -m 1g --sy\t fil\t": ["dev", "-m", "1g", "--sync", "file 1"],
    "run-image dev ls --sy\t fil\t": ["dev", "ls", "--sy", "file 1"],
    "build-image --target x de\t --pu\t": ["--target", "x", "dev", "--pull-base"],
    "ssh-dock gp\t fil\t --dr\t": ["gpu", "file 1", "--dr"],
    "transfer-image de\t g\t bi\t": ["dev", "gpu", "big"],
    "transfer-image dev 203\t": ["dev", "203.0.113.7"],
    "start-dock gpu fe\t": ["gpu", "fe80::7"],
    "start-dock fe80:\t gp\t": ["fe80::7", "gpu"],
    "sync-up --dock g\t --del\t": ["--dock", "gpu", "--delete"],
    "sync-up --dock=g\t": ["--dock=gpu"],
    "create-dock x --identity fil\t": ["x", "--identity", "file 1"],
    "create-dock x --identity=fil\t": ["x", "--identity=file 1"],
    "image-script sh\t /x fil\t": ["shell", "/x", "file 1"],
    "dockerutils conf\t sh\t --js\t": ["config", "shell", "--json"],
    "dockerutils completion fi\t": ["completion", "fish"],
    "find-image de\t": ["de"],
    "register-dock 203\t g\t": ["203", "g"],
}
SOURCED = {
    "source dock g\t": ["dock", "gpu"],
    "source /x/dock 203\t": ["/x/dock", "203.0.113.7"],
    "source ./fil\t": ["./file 1"],
}


def test_lines_are_completed(terminal, request) -> None:
    fish = "[fish]" in request.node.name
    typed = TYPED if fish else TYPED | SOURCED
    assert {line: terminal.type(line) for line in typed} == typed


def test_all_completions_are_offered(terminal, request) -> None:
    if "[fish]" in request.node.name:
        # It has no key for that; but this has.
        def all_of(line: str) -> set[str]:
            return set(terminal.type(f"dockerutils (complete -C '{line}' | string replace -r '\\t.*' '')"))
    else:

        def all_of(line: str) -> set[str]:
            word = line.rpartition(" ")[2]
            return set(terminal.type(f"{line}\x18a")) - ({word} if word else set())

    assert all_of("build-image ") - {""} == {"base", "dev", "shell", "lab", "all", "clean"}
    assert all_of("transfer-image dev ") == {"dev", "big", "gpu"} - (
        {"dev"} if "[fish]" in request.node.name else set()
    )


def test_special_characters_are_not_evaluated(terminal, directory) -> None:
    for name in ODD:
        write_tree(directory, {f"odd/docker/{name}/Dockerfile": ""})
    write_tree(directory, {"odd/docker/new\nline/Dockerfile": ""})
    terminal.do("cd odd")
    typed = {
        "build-image \\$\t": ["$(touch HACKED)"],
        "build-image \\`\t": ["`touch HACKED`"],
        "build-image \\;\t": [";touch HACKED"],
        "build-image it\t": ["it's odd"],
        "build-image sa\t -f": ['say "x" \\ &', "-f"],
        "build-image ü\t": ["ü 7"],
        "transfer-image it\t gp\t": ["it's odd", "gpu"],
    }
    assert {line: terminal.type(line) for line in typed} == typed
    assert not list(directory.rglob("HACKED"))


def test_errors_are_silent(terminal, directory) -> None:
    write_tree(
        directory, {"broken/docker/dev/Dockerfile": "", "broken/docker/dockerutils.cfg": "[run_image]\nx = 1\nx = 2\n"}
    )
    write_tree(directory, {"none/docker/dev/Dockerfile": "", "none/docker/dockerutils.cfg/x": ""})
    write_tree(
        Path(os.environ["HOME"]), {".docker/203.0.113.9/connection_config.txt": "DOCK_MONIKER=$(touch HACKED)\n"}
    )
    typed = []
    for name in ("broken", "none", "/"):
        terminal.do(f"cd {directory / name}")
        typed.append(terminal.type("build-image de\t -f"))
    terminal.do(f"cd {directory}")
    typed.append(terminal.type("transfer-image dev gp\t"))
    assert typed == [["dev", "-f"], ["de", "-f"], ["de", "-f"], ["dev", "gpu"]]
    assert not re.search(r"Traceback|dockerutils\.cfg|connection_config|warning", terminal.shown)
    assert not list(directory.rglob("HACKED"))


def test_an_earlier_completion_of_source_still_works(directory) -> None:
    terminal = Terminal("bash", directory)
    try:
        terminal.do("before() { COMPREPLY=(mine); }; complete -F before source")
        for _ in range(2):
            terminal.do('eval "$(command dockerutils completion bash)"')
        typed = [terminal.type(f"source {keys}") for keys in ("mi\t", "dock g\t")]
    finally:
        terminal.close()
    assert typed == [["mine"], ["dock", "gpu"]]


def test_the_scripts_have_no_syntax_errors_and_all_options() -> None:
    for shell in SHELLS:
        script = subprocess.run([BIN / "dockerutils", "completion", shell], capture_output=True, text=True, check=True)
        subprocess.run([*START[shell][:1], "-n"], input=script.stdout, text=True, check=True)
        for parser in (run_image.parser(), transfer_image.parser()):
            for flag in parser._option_string_actions:
                assert re.search(rf"(?<![\w-]){flag.lstrip('-') if shell == 'fish' else flag}\b", script.stdout)
