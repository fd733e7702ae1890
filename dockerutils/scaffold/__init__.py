"""dockerutils init: what a project is, and the docker/ tree for it."""
