"""Registries: the v2 protocol, logins."""
