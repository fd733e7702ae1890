"""How Jupyter runs in this image.

The keys: https://jupyter-server.readthedocs.io/en/latest/other/full-config.html. The token comes from the environment.
"""  # noqa: INP001 - Jupyter reads it, nobody imports it

import os

c = get_config()  # noqa: F821 - Jupyter's

c.ServerApp.ip = "0.0.0.0"  # noqa: S104 - inside the container; run-notebook publishes it only on 127.0.0.1
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True  # a project owned by root runs as root
c.ServerApp.root_dir = "/home/jovyan/project"


def write_diffs(model, os_path, contents_manager):  # noqa: ANN001, ANN201
    """Write a notebook as `.diffs/<name>.py` and `.diffs/<name>.html` beside it: a diff of these can be read."""
    if model["type"] != "notebook" or not os_path.endswith(".ipynb"):  # jupytext saves scripts as notebooks, too
        return
    from nbconvert import HTMLExporter, PythonExporter

    directory, name = os.path.split(os_path)
    target = os.path.join(directory, ".diffs", os.path.splitext(name)[0])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    for exporter in (PythonExporter, HTMLExporter):
        text, resources = exporter(parent=contents_manager).from_filename(os_path)
        with open(target + resources["output_extension"], "w", encoding="utf-8") as stream:
            stream.write(text)


if os.environ.get("RESERO_JUPYTER_DIFFS") or os.environ.get("DOCKER_DS_DIFFS"):
    c.FileContentsManager.post_save_hook = write_diffs
