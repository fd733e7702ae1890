"""Print versioneer's data about the project in the current directory as JSON. A script for `version_file`.

Nothing of this package is imported here, and the project's directory comes last in the module path: a `types.py` or
`json.py` of the project must not replace Python's own.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from types import ModuleType

_NAME = "versioneer"


def main() -> None:
    """Use the project's versioneer.py if it exists, else the installed versioneer."""
    own_directory = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [*(path for path in sys.path if path != own_directory), os.getcwd()]
    # Versioneer prints warnings on stdout, which is for the data.
    with contextlib.redirect_stdout(sys.stderr):
        versions = _versioneer().get_versions()
    print(json.dumps(versions))


def _versioneer() -> ModuleType:
    path = os.path.abspath(f"{_NAME}.py")
    if not os.path.exists(path):
        return importlib.import_module(_NAME)
    specification = importlib.util.spec_from_file_location(_NAME, path)
    assert specification
    assert specification.loader
    module = sys.modules[_NAME] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
