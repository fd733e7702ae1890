"""Jupyter: starting it, waiting for it, its URL, the browser."""
