#@ include syntax
# JupyterLab with the project mounted: run-notebook builds it, runs it and opens it in the browser.
#@ include base-image

FROM $BASE_IMAGE AS builder
USER root
WORKDIR /build
#@ include install-pip

FROM $BASE_IMAGE
COPY --from=builder /venv /venv
# The entrypoint starts as root and becomes the owner of the project.
USER root
# run-notebook mounts the project in the home directory of a user named jovyan.
RUN useradd --create-home jovyan && install -d -o jovyan -g jovyan /home/jovyan/project
COPY docker/notebook/entrypoint /usr/local/bin/
WORKDIR /home/jovyan/project
EXPOSE 8888
ENTRYPOINT ["sh", "/usr/local/bin/entrypoint"]
# run-notebook sets the token in the environment.
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--allow-root"]
