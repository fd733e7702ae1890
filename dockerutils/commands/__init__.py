"""One module per command; each `main` is a console script, and the first line of its docstring is its summary."""
