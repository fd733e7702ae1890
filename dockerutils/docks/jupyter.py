"""JupyterLab on a dock, outside containers, where nb-dock finds it."""

# A line of sh for the dock's user. It keeps a virtual environment that exists.
INSTALL = "python3 -m venv ~/.venv && ~/.venv/bin/pip install jupyterlab"
