"""The files that `dockerutils completion --install` writes, where each shell looks for completions of a user.

Each of them asks dockerutils for its script when the shell first needs it, so it stays current after an upgrade.

- bash: https://github.com/scop/bash-completion#faq, which loads the file with the name of a command.
- zsh: https://zsh.sourceforge.io/Doc/Release/Completion-System.html#Autoloaded-files; no directory of a user is
  searched by default.
- fish: https://fishshell.com/docs/current/completions.html#where-to-put-completions
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from dockerutils.core import files
from dockerutils.core.errors import DockerutilsError

_MARK = "# Written by dockerutils completion --install; removed by --uninstall."
_ZSH = """\
eval "$(command dockerutils completion zsh 2>/dev/null)"
if (( ! $+functions[_dockerutils_offer] )); then
    [[ $service != (source|.) ]] || _source
elif [[ $service == (source|.) ]]; then
    _dockerutils_source "$@"
else
    _dockerutils "$@"
fi"""
_FISH = "functions -q __dockerutils_names; or command dockerutils completion fish | source"


def directory(shell: str, environ: Mapping[str, str], home: str) -> str:
    """Return the directory for the files of a shell."""
    data = files.base_directory("DATA", environ, home)
    if shell == "bash":
        own = environ.get("BASH_COMPLETION_USER_DIR") or os.path.join(data, "bash-completion")
        return os.path.join(own, "completions")
    if shell == "zsh":
        return os.path.join(data, "zsh", "site-functions")
    return os.path.join(files.base_directory("CONFIG", environ, home), "fish", "completions")


def install(shell: str, where: str, commands: Iterable[str]) -> list[str]:
    """Write the files of a shell into the directory `where`, and return the names of those that are new or changed.

    Files that this command did not write stay as they are; DockerutilsError names the first one.
    """
    wanted = _files(shell, commands)
    present = {name: _read(os.path.join(where, name)) for name in wanted}
    if taken := [name for name, text in present.items() if text is not None and _MARK not in text]:
        path = os.path.join(where, taken[0])
        raise DockerutilsError(f"{path} is not a file of dockerutils; move it away and run this again")
    os.makedirs(where, exist_ok=True)
    changed = [name for name, text in wanted.items() if present[name] != text]
    for name in changed:
        files.write(os.path.join(where, name), wanted[name])
    return changed


def uninstall(where: str) -> list[str]:
    """Remove the files that `install` wrote into a directory, and return their names."""
    names: list[str] = []
    with suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(name for name in os.listdir(where) if _MARK in (_read(os.path.join(where, name)) or ""))
    for name in names:
        os.unlink(os.path.join(where, name))
    return names


def _files(shell: str, commands: Iterable[str]) -> dict[str, str]:
    """Return the text of each file by its name; `source` is for `source dock`."""
    if shell == "zsh":
        return {"_dockerutils": f"#compdef {' '.join(commands)} source .\n{_MARK}\n{_ZSH}\n"}
    if shell == "bash":
        text = f'# shellcheck shell=bash\n{_MARK}\neval "$(command dockerutils completion bash 2>/dev/null)"\n'
        return dict.fromkeys([*commands, "source"], text)
    return {f"{command}.fish": f"{_MARK}\n{_FISH}\n" for command in commands}


def _read(path: str) -> str | None:
    """Return the text of a file, None if it does not exist, "" if it cannot be read."""
    try:
        # To open a FIFO would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""
