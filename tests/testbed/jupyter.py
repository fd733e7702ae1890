"""JupyterLab for the tests: commands that show notebooks, and an installation for hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from tests.support import first_line
from tests.testbed.debian import CACHE
from tests.testbed.relay import inside

if TYPE_CHECKING:
    from typing_extensions import Self

BIN = Path(sys.executable).parent
BROWSER = Path(__file__).parent / "browser.py"
_ASK = """\
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
"""


class Running:
    """A command that shows a notebook, in its own session as in a terminal; it ends with the block."""

    def __init__(self, argv: Sequence[str], directory: Path, network: int | None, environ: Mapping[str, str]) -> None:
        self._network = network
        self._log: IO[str] = open(directory.with_name(f"{argv[0]}.log"), "w+", encoding="utf-8")  # noqa: SIM115
        self.child = subprocess.Popen(
            [*inside(network), str(BIN / argv[0]), *argv[1:]],
            cwd=directory,
            env={**os.environ, **environ},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.child.poll() is None:
            self.signal(15)
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(30)
        if self.child.poll() is None:
            self.child.kill()
        self.child.communicate()
        self._log.close()

    @property
    def stderr(self) -> str:
        """Its stderr so far."""
        return Path(self._log.name).read_text()

    def url(self) -> str:
        """Wait for the URL and return it; AssertionError with the output if there is none."""
        line = first_line(self.child, 300)  # images can be built first
        assert line.startswith("http://127.0.0.1:"), self.stderr
        return line.removesuffix("\n")

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; return the status and the remaining output."""
        self.signal(number)
        out, _ = self.child.communicate(timeout=60)
        return self.child.returncode, out

    def wait(self) -> tuple[int, str]:
        """Wait until it ends; return the status and the output."""
        out, _ = self.child.communicate(timeout=60)
        return self.child.returncode, out

    def ask(self, url: str) -> int:
        """Return the status of a GET from where the command runs; 0 for no answer."""
        argv = [*inside(self._network), sys.executable, "-c", _ASK, url]
        return int(subprocess.check_output(argv, text=True, env={"PATH": os.environ["PATH"]}))

    def browse(self, *args: str) -> str:
        """Run browser.py where the command runs, and return its output."""
        argv = [*inside(self._network), sys.executable, str(BROWSER), *args]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=300, check=False, env={"PATH": os.environ["PATH"]}
        )
        assert not done.returncode, done.stderr
        return done.stdout.removesuffix("\n")


def environment() -> dict[str, str]:
    """Return the variables that cache downloads between runs of the tests."""
    return {"PIP_CACHE_DIR": f"{CACHE}/pip", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def program() -> str:
    """Return a directory with a Python and JupyterLab that every user can run; created once."""
    kept = os.path.join(CACHE, "jupyterlab")
    complete = f"{kept}/complete"
    if not os.path.exists(complete):
        # The system's Python, because other users can be unable to reach that of the tests.
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "--clear", kept], check=True)
        pip = [sys.executable, "-m", "pip", "--python", f"{kept}/bin/python", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", "--quiet", "jupyterlab"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip install jupyterlab: status {done.returncode}\n{done.stderr}")
        Path(complete).touch()
    return kept
