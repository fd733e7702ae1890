"""Guess which of Debian's packages a project's requirements need beyond a Python image without compilers."""

from __future__ import annotations

import re
from typing import NamedTuple

# What pip needs to build a requirement, and what the requirement needs to run.
_REQUIREMENTS = {
    "dbus-python": ("gcc libdbus-1-dev libglib2.0-dev", "libdbus-1-3"),
    "mysqlclient": ("gcc pkg-config default-libmysqlclient-dev", "libmariadb3"),
    "psycopg2": ("gcc libpq-dev", "libpq5"),
    "pyaudio": ("gcc portaudio19-dev", "libportaudio2"),
    "pycairo": ("gcc pkg-config libcairo2-dev", "libcairo2"),
    "pycurl": ("gcc libcurl4-openssl-dev libssl-dev", "libcurl4"),
    "pygobject": ("gcc libgirepository1.0-dev", "libgirepository-1.0-1"),
    "pygraphviz": ("gcc graphviz-dev", "graphviz"),
    "pyodbc": ("g++ unixodbc-dev", "unixodbc"),
    "python-ldap": ("gcc libldap2-dev libsasl2-dev", "libldap2"),
    "uwsgi": ("gcc", ""),
    "xmlsec": ("gcc pkg-config libxmlsec1-dev", "libxmlsec1-openssl"),
}
# What the metadata of projects with code in other languages say.
_LANGUAGES = {
    r"\bext_modules\b|\bExtension\(|\bcythonize\b|\bcffi_modules\b": "gcc",
    r"\bscikit[-_]build|\bmeson-?python|\bmesonpy\b|\bpybind11\b|\bcmake\b": "g++ cmake",
    r"\bmaturin\b|\bsetuptools[-_]rust\b": "gcc cargo",
}


class SystemPackages(NamedTuple):
    """Debian packages: those to build with, those to run with, and which requirements seem to need them."""

    build: list[str]
    run: list[str]
    reasons: list[str]


def guess(metadata: str, requirements: str, lock: str = "") -> SystemPackages:
    """Return what the texts of metadata, requirement files and the lock file seem to need."""
    build: list[str] = []
    run: list[str] = []
    reasons: list[str] = []
    text = f"{metadata}\n{requirements}"
    if re.search(r"\bgit\+(?:https?|ssh|file)\b", text):
        build.append("git")
        reasons.append("git+ requirements")
    elif re.search(r"""(?m)\bgit"?\s*[=:]\s*"(?:https?|ssh|git)|^type = "git\"""", f"{metadata}\n{lock}"):
        build.append("git")
        reasons.append("requirements from git")
    for name, (to_build, to_run) in _REQUIREMENTS.items():
        spelled = name.replace("-", "[-_.]")
        if re.search(rf"(?im)(?:^|[\s\"'\[=]){spelled}(?![\w.-])", text):
            build += to_build.split()
            run += to_run.split()
            reasons.append(name)
    for pattern, names in _LANGUAGES.items():
        if found := re.search(pattern, metadata):
            build += names.split()
            reasons.append(found[0].rstrip("("))
    return SystemPackages([*dict.fromkeys(build)], [*dict.fromkeys(run)], reasons)
