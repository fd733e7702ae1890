"""A stand-in for the aws command and its Session Manager plugin: it carries bytes between ssh and a host of the tests."""

from __future__ import annotations

from pathlib import Path

from tests.support import program

# The words are those of the real commands; the status of a refused call is 254:
# https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-returncodes.html
_SCRIPT = """\
printf '%s\\n' "$*" >>{directory}/calls
[ "$1 $2 $3" = 'ssm start-session --target' ] || exit 252
target=$4
shift 4
case "$*" in
    '--document-name AWS-StartSSHSession --parameters portNumber=22 --region us-east-1') ;;
    *) exit 252 ;;
esac
refusals=$(cat {directory}/refusals)
if [ "$refusals" -gt 0 ]; then
    echo $((refusals - 1)) >{directory}/refusals
    echo >&2
    echo "An error occurred (TargetNotConnected) when calling the StartSession operation: $target is not connected." >&2
    exit 254
fi
exec busybox nc {address} 22"""


class Plugin:
    """The stand-in, which connects each instance to port 22 of an address; `path` goes in front of PATH."""

    def __init__(self, directory: Path, address: str) -> None:
        self._directory = directory
        self.path = str(directory / "bin")
        directory.mkdir()
        self.refuse(0)
        program(directory / "bin" / "aws", _SCRIPT.format(directory=directory, address=address))

    def refuse(self, times: int) -> None:
        """Refuse so many sessions from now on, like an instance whose agent does not run."""
        (self._directory / "refusals").write_text(f"{times}\n")

    def calls(self) -> list[str]:
        """Return the arguments of its calls."""
        calls = self._directory / "calls"
        return calls.read_text().splitlines() if calls.exists() else []
