"""Print versioneer's data on the project in the current directory, as JSON; run as a child by `version_file`."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys


def main() -> None:
    """Use the project's own versioneer.py when it has one, else the installed versioneer."""
    sys.path.insert(0, os.getcwd())
    # Versioneer prints its warnings; ours is the only line on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        versions = importlib.import_module("versioneer").get_versions()
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
