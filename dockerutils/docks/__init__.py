"""Docks: hosts with a Docker Engine that are reached over ssh."""
