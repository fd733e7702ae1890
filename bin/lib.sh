# shellcheck shell=bash
# Shared by bin/demo and bin/test, which source it in the project root. `quietly` logs to $scratch.

set -euo pipefail
# dockerd, ip and debootstrap are here on Debian; after su, root's PATH can be without it.
PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE

# A short path: that of a socket is limited to 107 bytes.
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

# quietly COMMAND...: show its output only if it fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 </dev/null && return
    cat "$scratch/log" >&2
    die "failed: $*"
}

# packages WHY PACKAGE...: install them as root on Debian and Ubuntu; otherwise say what is missing.
packages() {
    local why=$1
    shift
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        die "$why; install $* and run this again"
    fi
    say "installing $*"
    if [[ ! -e $scratch/updated ]]; then
        # A failing source does not matter if the others have the packages.
        apt-get update >/dev/null 2>&1 </dev/null || true
        touch "$scratch/updated"
    fi
    quietly apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}

# commands WHY COMMAND=PACKAGE...: install the packages of missing commands.
commands() {
    local why=$1 pair
    local missing=()
    shift
    for pair; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]} == 0)) || packages "$why" "${missing[@]}"
}

# install EXTRAS: install the project into .venv unless it is up to date. EXTRAS is '' or, for example, '[test]'.
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
    # Recreate one that was interrupted or moved.
    .venv/bin/pip --version >/dev/null 2>&1 || quietly python3 -m venv --clear .venv
    quietly .venv/bin/pip install --quiet --editable ".$1"
    touch "$stamp"
}
