#@ if tools
#@ include syntax
#@ end
# The image for development. The project is mounted at /code: edit outside, run inside.
#@ include base-image

#@ if tools
#@ include tools

#@ end
FROM $BASE_IMAGE
#@ if tools
COPY --from=builder /venv /venv
#@ end
# The entrypoint starts as root and becomes the owner of the project.
USER root
COPY docker/dev/entrypoint /usr/local/bin/
ENTRYPOINT ["sh", "/usr/local/bin/entrypoint"]
CMD ["bash"]
