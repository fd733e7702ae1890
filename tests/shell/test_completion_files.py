"""dockerutils completion --install: the files are found by real shells, and --uninstall removes them and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.cli import completion_files
from dockerutils.commands.dockerutils import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.shell.test_completion import SHELLS, Terminal
from tests.support import App, write_tree
from tests.test_architecture import COMMANDS

PLACES = {
    "bash": ".local/share/bash-completion/completions",
    "zsh": ".local/share/zsh/site-functions",
    "fish": ".config/fish/completions",
}
# What a shell of a user loads anyway, and the line that the command asks for.
ENABLED = {
    "bash": "source /usr/share/bash-completion/bash_completion",
    "zsh": "fpath=(~/.local/share/zsh/site-functions $fpath); autoload -Uz compinit && compinit -i",
    "fish": "true",
}


@pytest.fixture(autouse=True)
def home(monkeypatch) -> Path:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Path(os.environ["HOME"])


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "", "docker/base/Dockerfile": ""}), capfd)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_new_shell_completes_after_the_installation(shell, app, home, monkeypatch) -> None:
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    inventory.register(Dock("gpu", "203.0.113.7", "ada", "203.0.113.7", "203.0.113.7"), str(home))
    written = app("completion", "--install")
    number = 1 if shell == "zsh" else len(COMMANDS) + (shell == "bash")
    files = f"{number} file{'s' if number > 1 else ''}"
    assert written.out == f"wrote {files} to {home / PLACES[shell]}\n"
    assert written.err.startswith("dockerutils: new shells complete")
    terminal = Terminal(shell, app.root, ENABLED[shell])
    try:
        if shell != "fish":
            assert terminal.type("source dock g\t") == ["dock", "gpu"]
        assert terminal.type("build-image de\t --pu\t") == ["dev", "--pull-base"]
        assert terminal.type("dockerutils conf\t de\t") == ["config", "dev"]
    finally:
        terminal.close()
    assert app("completion", "--install").out == f"{home / PLACES[shell]} is up to date\n"
    own = write_tree(home / PLACES[shell], {"mine": "mine\n"})
    assert app("completion", "--uninstall").out == f"removed {files} from {own}\n"
    assert [path.name for path in own.iterdir()] == ["mine"]
    assert app("completion", "--uninstall") == (0, "", "")


@pytest.mark.parametrize("relative", ["", "data", "./data"])
def test_a_base_directory_that_is_relative_is_ignored(relative) -> None:
    environ = {"XDG_DATA_HOME": relative, "XDG_CONFIG_HOME": relative}
    for shell, place in PLACES.items():
        assert completion_files.directory(shell, environ, "/home/ada") == f"/home/ada/{place}"
    assert completion_files.directory("zsh", {"XDG_DATA_HOME": "/d"}, "/home/ada") == "/d/zsh/site-functions"


def test_files_of_others_stay(app, home) -> None:
    place = write_tree(home / PLACES["fish"], {"run-image.fish": "mine\n"})
    outcome = app("completion", "fish", "--install")
    assert outcome.status == 1
    assert outcome.err == (
        f"dockerutils: {place}/run-image.fish is not a file of dockerutils; move it away and run this again\n"
    )
    assert [path.name for path in place.iterdir()] == ["run-image.fish"]
    (place / "run-image.fish").unlink()
    (place / "run-image.fish").mkdir()
    assert app("completion", "fish", "--install").status == 1
    (place / "run-image.fish").rmdir()
    os.mkfifo(place / "run-image.fish")
    assert app("completion", "fish", "--install").err == outcome.err
    assert app("completion", "fish", "--uninstall") == (0, "", "")


def test_a_file_in_place_of_a_directory(app, home) -> None:
    (home / ".local").write_text("mine\n")
    outcome = app("completion", "zsh", "--install")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"dockerutils: {home}/.local/share: Not a directory; move the file that is in its place\n"
    assert app("completion", "zsh", "--uninstall") == (0, "", "")


def test_the_line_for_zsh_is_quoted(app, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "my data"))
    assert app("completion", "zsh", "--install").err.endswith(
        f": fpath=('{tmp_path}/my data/zsh/site-functions' $fpath)\n"
    )


def test_a_shell_has_to_be_known(app, monkeypatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    for argv in (("completion",), ("completion", "--install")):
        outcome = app(*argv)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err == "dockerutils: which shell? Name it: dockerutils completion bash|zsh|fish\n"


def test_the_directories_can_be_elsewhere(app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BASH_COMPLETION_USER_DIR", str(tmp_path / "bash"))
    outputs = [app("completion", shell, "--install").out.split()[-1] for shell in SHELLS]
    assert outputs == [
        f"{tmp_path}/bash/completions", f"{tmp_path}/data/zsh/site-functions", f"{tmp_path}/config/fish/completions"
    ]  # fmt: skip
