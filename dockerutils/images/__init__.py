"""Use cases with images, as typed functions for the commands: build an image, run it."""
