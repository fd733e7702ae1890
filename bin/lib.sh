# shellcheck shell=bash
# What bin/demo and bin/test share. They source it in the project's root; the log of quietly goes to $scratch.

set -euo pipefail
# Where Debian has dockerd, ip and debootstrap; root's own PATH may lack it after su.
PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE

# Short, because a socket may lie in it: their paths end at 107 bytes.
scratch=$(mktemp -d /tmp/dockerutils.XXXXXX)
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'rm -rf "$scratch"' EXIT

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$@"
    exit 1
}

# quietly COMMAND...: its output is shown only when it fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 </dev/null && return
    cat "$scratch/log" >&2
    die "failed: $*"
}

# packages WHY PACKAGE...: root on Debian and its kin gets them; anybody else is told.
packages() {
    local why=$1
    shift
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        die "$why; install $* and run this again"
    fi
    say "installing $*"
    if [[ ! -e $scratch/updated ]]; then
        # One source that fails does no harm, if the others have the packages.
        apt-get update >/dev/null 2>&1 </dev/null || true
        touch "$scratch/updated"
    fi
    quietly apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

# commands WHY COMMAND=PACKAGE...: see that there are these commands.
commands() {
    local why=$1 pair
    local missing=()
    shift
    for pair; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]} == 0)) || packages "$why" "${missing[@]}"
}

# install EXTRAS: the project into .venv, unless it is there as setup.cfg has it now. EXTRAS is '' or, for one, '[test]'.
install() {
    local stamp=.venv/installed$1
    if [[ $stamp -nt setup.cfg && $stamp -nt setup.py && $stamp -nt pyproject.toml ]]; then
        return
    fi
    commands "there is no python3" python3=python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$(python3 --version) is too old; put Python 3.10 or newer first on PATH, as python3"
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages "python3 cannot make virtual environments" python3-venv
    say "installing the project into .venv"
    # One that was cut off, or moved, is made anew.
    .venv/bin/pip --version >/dev/null 2>&1 || quietly python3 -m venv --clear .venv
    quietly .venv/bin/pip install --quiet --editable ".$1"
    touch "$stamp"
}
