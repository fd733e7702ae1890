"""Parts that the tests take from Debian's archive and cache between runs."""

from __future__ import annotations

import os
import subprocess
import tempfile

# Read now, because tests do not see the user's variables.
CACHE = os.environ.get("DOCKERUTILS_CACHE", "/var/cache/dockerutils")

# A generation after Debian 12's docker.io 20.10: 26.1, with BuildKit.
_MODERN = "trixie"
_PACKAGES = ("ca-certificates", "iptables", "docker.io", "docker-cli", "docker-buildx", "docker-compose")


def modern_usr() -> str:
    """Return the /usr of a Debian with a modern Docker Engine; created once, in a minute, completely or not at all."""
    kept = os.path.join(CACHE, f"docker-{_MODERN}-cli")
    if os.path.isdir(kept):
        return kept
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{_MODERN}-", dir=CACHE) as work:
        # In a mount namespace, so that nothing stays mounted if this is interrupted.
        bootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
        done = subprocess.run(
            [*bootstrap, _MODERN, f"{work}/tree"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"debootstrap: status {done.returncode}\n{done.stdout}")
        os.rename(f"{work}/tree/usr", kept)
    return kept
