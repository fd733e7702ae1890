"""A web application: it greets, and counts how often it has done so."""

import itertools

from flask import Flask

app = Flask(__name__)
_counter = itertools.count(1)


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, object]:
    """Greet someone."""
    return {"hello": name, "visit": next(_counter)}
