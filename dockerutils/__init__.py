"""Small commands for the Dockerfiles of a Python project, run here, on remote docker hosts and in CI."""
