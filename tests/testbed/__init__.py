"""Real parts for the tests: Docker Engines of their own, and images that no registry has to serve."""
