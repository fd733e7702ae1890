"""The docker command: its argument vectors, the engine behind it, names of images, versions in tags."""
