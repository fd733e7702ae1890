"""source dock and castoff in real shells: what they change and restore, and the engine that docker reaches."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pexpect
import pytest

from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import Outcome, script
from tests.testbed.host import Host, at_home, serving

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "dockerutils" / "shell" / "dock"
BIN = Path(sys.executable).parent

SHELLS = {"bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"]}


@pytest.fixture(params=list(SHELLS))
def shell(request) -> list[str]:
    """Return the command line of a shell without startup files."""
    return SHELLS[request.param]


@pytest.fixture(autouse=True)
def _on_path(monkeypatch) -> None:
    """Let `source dock` find this script, and the script find dock-environment."""
    monkeypatch.setenv("PATH", f"{SCRIPT.parent}:{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def gpu() -> Dock:
    """Register a dock that does not answer."""
    dock = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
    inventory.register(dock, os.environ["HOME"])
    return dock


def run(shell: list[str], script: str, *argv: str, **environ: str) -> Outcome:
    """Run a script in a non-interactive shell."""
    child = subprocess.run(
        [*shell, "-c", script, "test", *argv],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environ}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(child.returncode, child.stdout, child.stderr)


def engine(moniker: str) -> str:
    """Return the DOCKER_HOST of a shell that is docked to that dock."""
    return f"unix://{os.environ['HOME']}/.docker/dock-{moniker}.sock"


# Everything that a child would see, and the prompts.
STATE = """
state() {
    env -0 | sort -z | tr '\\0' '\\n' | grep -v -E '^(_|SHLVL|PS1|OLDPWD)='
    printf 'PS1=%s old=%s\\n' "${PS1-none}" "${_OLD_VIRTUAL_PS1-none}"
}
"""


def test_variables_and_prompt_of_a_docked_shell(shell, gpu) -> None:
    outcome = run(shell, "PS1='$ '; source dock 203.0.113.7; env; echo \"$PS1\"", DOCKER_CONTEXT="other")
    lines = outcome.out.splitlines()
    assert outcome.err == ""
    assert {line for line in lines if re.match("DOCK(ER)?_", line)} - {f"DOCKER_CONFIG={os.environ['DOCKER_CONFIG']}"} == {
        f"DOCKER_HOST={engine('gpu')}", "DOCKER_IP=203.0.113.7", "DOCK_MONIKER=gpu", "DOCK_ADDRESS=203.0.113.7",
        "DOCK_USER=ubuntu", "DOCK_HOSTNAME=203.0.113.7", "DOCK_IP=203.0.113.7",
    }  # fmt: skip
    assert lines[-1] == "[dock:gpu] $ "


def test_all_fields_of_a_record_are_exported(shell) -> None:
    dock = Dock(
        "big", "203.0.113.9", "ada", "big.example.com", "203.0.113.9", 2222, "/k e y", "i-0abc", "eu-west-1", "pp-1"
    )
    inventory.register(dock, os.environ["HOME"])
    outcome = run(shell, "source dock big; env")
    expected = {
        "DOCK_USER=ada", "DOCK_HOSTNAME=big.example.com", "DOCK_PORT=2222", "DOCK_IDENTITY=/k e y",
        "DOCK_INSTANCE_ID=i-0abc", "DOCK_REGION=eu-west-1", "DOCK_PROVISIONED_PRODUCT=pp-1",
    }  # fmt: skip
    assert expected <= set(outcome.out.splitlines())


def _orders() -> Iterator[str]:
    """Yield every order of d(ock), c(astoff), a(ctivate), b (activate another one) and x (deactivate)."""
    for first, second in [("dc", "ax"), ("dc", "abx"), ("dcdc", "ax")]:
        length = len(first) + len(second)
        for places in combinations(range(length), len(first)):
            sources = {True: iter(first), False: iter(second)}
            yield "".join(next(sources[place in places]) for place in range(length))


def test_every_order_of_dock_castoff_activate_and_deactivate(shell, gpu, tmp_path) -> None:
    for name in ("a", "b"):
        venv.create(tmp_path / name, symlinks=True)
    script = (
        STATE
        + f"""
    d() {{ source dock gpu; }}
    c() {{ castoff; }}
    a() {{ source {tmp_path}/a/bin/activate; }}
    b() {{ source {tmp_path}/b/bin/activate; }}
    x() {{ deactivate; }}
    export PS1='\\u %n $ ' DOCKER_CONTEXT=other DOCKER_TLS_VERIFY= DOCK_USER=ada
    before=$(state)
    for order in "$@"; do
        rest=$order
        while [[ -n $rest ]]; do
            step=${{rest%"${{rest#?}}"}} rest=${{rest#?}}
            $step
            # In a docked shell the marker is in the prompt once.
            case ${{DOCK_MONIKER-}},$PS1 in
                gpu,*'[dock:gpu] '*'[dock:gpu] '*) echo "$order: twice at $step" ;;
                gpu,*'[dock:gpu] '*) ;;
                ,*dock*) echo "$order: left at $step" ;;
                gpu,*) echo "$order: lost at $step" ;;
            esac
        done
        [[ $(state) == "$before" ]] || {{ echo "$order: changed"; diff <(state) <(echo "$before"); }}
    done
    """
    )
    orders = list(_orders())
    assert len(orders) == 6 + 10 + 15
    outcome = run(shell, script, *orders)
    assert outcome == (0, "", "")


def test_castoff_restores_shell_variables_without_exporting_them(shell, gpu) -> None:
    script = """
    unset DOCKER_HOST
    DOCKER_HOST=mine DOCK_IP=
    source dock gpu
    castoff
    echo "$DOCKER_HOST-${DOCK_IP-unset}"
    printenv DOCKER_HOST DOCK_IP || echo not exported
    """
    assert run(shell, script) == (0, "mine-\nnot exported\n", "")


ERRORS = [
    ("nope", "dock: unknown dock 'nope'; known docks: gpu\n"),
    ("'$(touch x)'", "dock: unknown dock '$(touch x)'; known docks: gpu\n"),
    ("'`touch x`'", "dock: unknown dock '`touch x`'; known docks: gpu\n"),
    ("../gpu", "dock: unknown dock '../gpu'; known docks: gpu\n"),
    ("$'gpu\\ngpu'", "dock: unknown dock 'gpu\\ngpu'; known docks: gpu\n"),
    ("-oProxyCommand=x", "dock: error: the following arguments are required: MONIKER|ADDRESS\n"),
    ("gpu gpu", "dock: error: unrecognized arguments: gpu\n"),
    ("''", "dock: unknown dock ''; known docks: gpu\n"),
    ("", "dock: error: the following arguments are required: MONIKER|ADDRESS\n"),
]


@pytest.mark.parametrize(("argument", "message"), ERRORS, ids=[argument for argument, _ in ERRORS])
def test_an_error_does_not_change_the_shell(argument, message, shell, gpu, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = (
        STATE
        + f"""
    set -eu
    functions() {{ typeset -f | grep -i -E 'dock|castoff' | grep -v functions || true; }}
    before=$(state; functions)
    source dock {argument} || echo "status $?"
    [[ $(state; functions) == "$before" ]]
    echo alive
    """
    )
    outcome = run(shell, script)
    assert outcome[:2] == (0, "status 1\nalive\n")
    assert outcome.err.endswith(message)
    assert os.listdir(tmp_path) == []


def test_with_set_eu(shell, gpu) -> None:
    outcome = run(
        shell,
        'set -eu; unset PS1; source dock gpu; echo "$DOCK_MONIKER${PS1+ a prompt}"; castoff; echo "${DOCK_MONIKER-off}"',
    )
    assert outcome == (0, "gpu\noff\n", "")


@pytest.mark.parametrize("prompt", ["", "$ "])
def test_without_a_prompt(prompt, shell, gpu) -> None:
    script = f'PS1=\'{prompt}\'; source dock gpu; echo "=$PS1="; castoff; echo "=$PS1="'
    expected = (0, f"={prompt}=\n={prompt}=\n", "")
    assert run(shell, script, DOCKERUTILS_DISABLE_PROMPT="1" if prompt else "") == expected


@pytest.fixture
def big() -> Dock:
    """Register a second dock, whose record has more fields."""
    dock = Dock(
        "big", "203.0.113.9", "ada", "big.example.com", "203.0.113.9", 2222, "/k", "i-0abc", "eu-west-1", "pp-1"
    )
    inventory.register(dock, os.environ["HOME"])
    return dock


def test_a_second_source_dock_switches(shell, gpu, big) -> None:
    script = (
        STATE
        + """
    PS1='$ ' DOCK_PORT=77
    before=$(state)
    source dock gpu; docked=$(state)
    source dock big; echo "$DOCKER_HOST $DOCK_PORT $DOCK_INSTANCE_ID $PS1"
    source dock gpu; echo "$DOCKER_HOST ${DOCK_PORT-none} ${DOCK_INSTANCE_ID-none} $PS1"
    [[ $(state) == "$docked" ]] || echo changed
    source dock gpu; [[ $(state) == "$docked" ]] || echo changed
    castoff; [[ $(state) == "$before" ]] || echo changed
    echo "${DOCK_MONIKER-off} $DOCK_PORT"
    castoff || echo "status $?"
    """
    )
    assert run(shell, script) == (
        0,
        f"{engine('big')} 2222 i-0abc [dock:big] $ \n{engine('gpu')} none none [dock:gpu] $ \noff 77\nstatus 1\n",
        "castoff: this shell is not docked; run: source dock NAME\n",
    )


def test_a_switch_that_fails_leaves_the_shell_docked(shell, gpu) -> None:
    script = (
        STATE
        + """
    source dock gpu; docked=$(state)
    source dock other || echo "status $?"
    [[ $(state) == "$docked" ]] || echo changed
    castoff; echo "${DOCK_MONIKER-off}"
    """
    )
    assert run(shell, script) == (0, "status 1\noff\n", "dock: unknown dock 'other'; known docks: gpu\n")


def test_a_shell_started_by_a_docked_one_switches_and_casts_off(shell, gpu, big) -> None:
    inner = 'source dock big; echo $DOCK_MONIKER; castoff; echo "${DOCKER_HOST-none} ${DOCK_MONIKER-off}"'
    outcome = run(shell, f"source dock gpu; {shlex.join([*shell, '-c', inner])}; echo $DOCK_MONIKER")
    assert outcome == (0, "big\nunix:///nonexistent/docker.sock off\ngpu\n", "")


def test_variables_left_by_an_earlier_docked_shell_are_not_restored(shell, gpu) -> None:
    """A shell can inherit some variables of a docked one."""
    outcome = run(
        shell,
        'source dock gpu; castoff; echo "${DOCKER_CONTEXT-none} ${DOCK_USER-none} $DOCKER_HOST"; env | grep BEFORE',
        DOCKERUTILS_BEFORE_DOCKER_CONTEXT="stale",
        DOCKERUTILS_BEFORE_DOCK_USER="stale",
        DOCKERUTILS_BEFORE_DOCKER_HOST="stale",
    )
    assert outcome == (1, "none none unix:///nonexistent/docker.sock\n", "")


@pytest.mark.parametrize("options", ["glob_subst", "sh_word_split", "ksh_arrays", "posix_builtins", "no_unset"])
def test_options_of_zsh(options, gpu) -> None:
    script = (
        STATE
        + f'setopt {options}; PS1=\'$ \'; before=$(state); source dock gpu; castoff; [[ "$(state)" == "$before" ]]'
    )
    assert run(SHELLS["zsh"], script) == (0, "", "")


def test_help(shell, gpu) -> None:
    outcome = run(shell, 'source dock -h; echo "${DOCK_MONIKER-off}"')
    assert outcome.out.startswith("usage: dock ")
    assert outcome.out.endswith("off\n")


def test_sourced_by_path(shell, gpu) -> None:
    path = os.environ["PATH"].partition(":")[2]
    assert run(shell, f"source {SCRIPT} gpu; echo $DOCKER_HOST", PATH=path) == (0, f"{engine('gpu')}\n", "")


def test_the_installed_script(shell, gpu) -> None:
    """Installed by pip beside dock-environment, which need not be on PATH then."""
    installed = BIN / "dock"
    assert installed.exists()
    outcome = run(shell, f"source {installed} gpu; echo $DOCKER_HOST", PATH="/usr/bin:/bin")
    assert outcome == (0, f"{engine('gpu')}\n", "")


def test_not_sourced_or_in_another_shell(gpu) -> None:
    message = "dock: this script must be sourced; run: source dock NAME\n"
    for argv in (["dock", "gpu"], ["bash", str(SCRIPT), "gpu"], ["zsh", str(SCRIPT), "gpu"]):
        child = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (child.returncode, child.stderr) == (1, message)
    assert run(["dash"], f". {SCRIPT}; echo $?") == (
        0,
        "1\n",
        "dock: this shell is neither bash nor zsh; start one of them and run: source dock NAME\n",
    )


def test_script_and_module_have_the_same_variables() -> None:
    loop = re.search(r"for name in (.*?); do", SCRIPT.read_text(), re.DOTALL)
    assert loop
    assert loop[1].replace("\\", "").split() == list(inventory.CHANGED)
    assert inventory.BEFORE in SCRIPT.read_text()


def test_programs_know_the_environment_before_source_dock(shell, gpu) -> None:
    show = f"{sys.executable} -c 'import os; from dockerutils.docks.inventory import undocked; print(undocked(os.environ) == dict(os.environ, **dict(X=\"1\")))'"
    assert run(shell, f"export X=1; {show}; source dock gpu; {show}") == (0, "True\nFalse\n", "")
    show = f"{sys.executable} -c 'import os; from dockerutils.docks.inventory import undocked; print(*sorted(undocked(os.environ).items()), sep=chr(10))' | grep DOCK"
    outcome = run(shell, f"unset DOCKER_CONFIG; {show}; source dock gpu; {show}", DOCK_USER="ada")
    first, second = outcome.out.splitlines()[:2], outcome.out.splitlines()[2:]
    assert first == second == ["('DOCKER_HOST', 'unix:///nonexistent/docker.sock')", "('DOCK_USER', 'ada')"]


def test_the_prompt_in_a_terminal(shell, gpu) -> None:
    environ = {**os.environ, "PS1": "> "}
    plain = {"zsh": ["-o", "no_zle"], "bash": ["--noediting"]}[shell[0]]
    terminal = pexpect.spawn(
        shell[0], [*plain, *shell[1:], "-i"], env=environ, encoding="utf-8", timeout=30, echo=False
    )
    prompts = []
    try:
        for line in ("", "source dock gpu", "source dock other", "castoff", "source dock other", "castoff", "exit"):
            terminal.expect(r"(\[dock:\w+\] )?> $")
            prompts.append(terminal.match[0])
            terminal.sendline(line)
    finally:
        terminal.close(force=True)
    assert prompts == ["> ", "> ", "[dock:gpu] > ", "[dock:gpu] > ", "> ", "> ", "> "]


def register_far(host: Host, directory: Path) -> None:
    argv = [host.address, "far", "-u", "dock", "-P", str(host.port), "--no-connect"]
    outcome = script("register-dock", *argv, directory=directory)
    assert (outcome.status, "warning" in outcome.err) == (0, False)


@pytest.fixture
def far(host, tmp_path) -> str:
    """Register a real host as `far`, and return the command that lists what its engine has."""
    register_far(host, tmp_path)
    return "docker image ls -q local/busybox"


def test_ten_calls_take_one_authentication(shell, far, host) -> None:
    outcome = run(shell, f"source dock far; for each in 1 2 3 4 5 6 7 8 9 10; do {far}; done")
    assert len(outcome.out.split()) == 10
    assert (outcome.status, outcome.err, host.authentications()) == (0, "", 1)


def test_a_dead_connection_is_replaced(far, host) -> None:
    docked = pexpect.spawn(
        "bash", ["--norc", "-i"], env={**os.environ, "PS1": "> "}, encoding="utf-8", timeout=60, echo=False
    )
    try:
        docked.expect_exact("> ")
        for times in (1, 2):
            docked.sendline(f"source dock far; {far} && echo DONE$((40+{times}))")
            docked.expect_exact(f"DONE{40 + times}")
            assert host.authentications() == times
            host.cut()
    finally:
        docked.close(force=True)


def test_a_changed_host_key_is_refused(far, host) -> None:
    script = f"source dock far; {far}"
    assert run(SHELLS["bash"], script).status == 0
    host.rotate_host_key()
    host.cut()
    outcome = run(SHELLS["bash"], script)
    assert (outcome.status != 0, outcome.out) == (True, "")
    assert "dockerutils: the host key of far has changed; if the host was reinstalled, run: ssh-keygen" in outcome.err
    remedy = re.search(r"ssh-keygen -R \S+ -f [^\s;]+", outcome.err)
    assert remedy
    subprocess.run(shlex.split(remedy[0]), check=True, capture_output=True)
    assert run(SHELLS["bash"], script).status == 0


def test_a_home_directory_with_a_blank(shell, host, tmp_path, tmp_path_factory, monkeypatch) -> None:
    """And a moniker of 60 letters, which does not lengthen the path of the connection's socket."""
    home = tmp_path_factory.mktemp("a b")
    for name, value in {**at_home(str(home)), "HOME": str(home), "DOCKER_CONFIG": str(home / ".docker")}.items():
        monkeypatch.setenv(name, value)
    host.admit(str(home))
    moniker = "m" * 60
    options = ["-u", "dock", "-P", str(host.port), "-i", "~/.ssh/id_ed25519", "--no-connect"]
    outcome = script("register-dock", host.address, moniker, *options, directory=tmp_path)
    assert (outcome.status, "warning" in outcome.err) == (0, False)
    commands = f"docker version -f ok; unset DOCKER_HOST; docker --context dock-{moniker} version -f ok"
    outcome = run(shell, f"source dock {moniker}; {commands}")
    assert (*outcome, host.authentications()) == (0, "ok\nok\n", "", 1)


def test_concurrent_calls_share_one_login(containerd_engine, ssh_home, tmp_path, monkeypatch) -> None:
    """Sshd refuses a second login (MaxStartups): all calls share the connection of the first."""
    with serving(containerd_engine, MaxStartups="1:100:1") as host:
        host.admit(ssh_home)
        register_far(host, tmp_path)
        # Each to its own file: docker writes a line in two parts.
        burst = f"for each in 1 2 3 4 5 6 7 8; do docker version -f ok > {tmp_path}/said-$each & done; wait"
        outcome = run(SHELLS["bash"], f"source dock far; docker version -f ok; {burst}")
        assert (*outcome, host.authentications()) == (0, "ok\n", "", 1)
        assert [path.read_text() for path in tmp_path.glob("said-*")] == ["ok\n"] * 8
