"""A swarm of docks."""
