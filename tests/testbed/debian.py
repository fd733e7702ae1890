"""Parts that the tests take from Debian's archive and cache between runs."""

from __future__ import annotations

import os
import subprocess
import tempfile

# Read now, because tests do not see the user's variables.
CACHE = os.environ.get("DOCKERUTILS_CACHE", "/var/cache/dockerutils")

# Docker Engine 28 or newer. Unstable can be broken for a day; testing has what unstable had some days before.
_SUITES = ("sid", "testing")
_PACKAGES = ("ca-certificates", "iptables", "docker.io", "docker-cli", "docker-buildx", "docker-compose")


def modern_usr() -> str:
    """Return the /usr of a Debian with a modern Docker Engine; created once, in a minute, completely or not at all.

    RuntimeError has the output of debootstrap if no suite can be installed.
    """
    kept = {suite: os.path.join(CACHE, f"docker-{suite}") for suite in _SUITES}
    for path in kept.values():
        if os.path.isdir(path):
            return path
    os.makedirs(CACHE, exist_ok=True)
    failures = []
    for suite, path in kept.items():
        with tempfile.TemporaryDirectory(prefix=f".{suite}-", dir=CACHE) as work:
            # In a mount namespace, so that nothing stays mounted if this is interrupted.
            bootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
            done = subprocess.run(
                [*bootstrap, suite, f"{work}/tree"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                os.rename(f"{work}/tree/usr", path)
                return path
            failures.append(f"debootstrap {suite}: status {done.returncode}\n{done.stdout}")
    raise RuntimeError("\n".join(failures))
