"""Build, run and ship a project's Docker images: on this machine, on any host reached over ssh, or on AWS."""
