"""dockerutils init: detect what a project is, and write the docker/ tree for it."""
