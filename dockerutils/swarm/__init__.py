"""A swarm of docks, and its services."""
