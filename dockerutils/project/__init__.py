"""docker/dockerutils.cfg and what it defines: settings, images, Dockerfiles, what .dockerignore excludes."""
