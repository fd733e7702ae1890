#@ if tools
#@ include syntax
#@ end
# The image to test and deliver: it has a copy of the project, without .git, and mounts nothing.
#@ include base-image

#@ if tools
#@ include tools
#@ else
FROM $BASE_IMAGE AS builder
USER root
#@ end
WORKDIR /code
COPY . .
# pip.conf can hold a password, so it stays out of the image.
RUN rm -f pip.conf
#@ if version_file
# build-image wrote the version to this file, because the image has no git.
RUN cp _version.py.bld @version_file@
#@ end

FROM $BASE_IMAGE
#@ if tools
COPY --from=builder /venv /venv
#@ end
COPY --from=builder --chown=app:app /code /code
#@ if packages
# Install from a copy, because building a package leaves files beside the code. The build tools are in base.
#@ if docker_setting
# The copy has no docker/, because setuptools would package it.
#@ end
USER root
RUN cp -r /code /tmp/code && \
#@ if docker_setting
    rm -rf /tmp/code/docker && \
#@ end
#@ if lock
    PYTHONPATH=/opt/build-system PATH=/opt/build-system/bin:$PATH PIP_USE_PEP517=1 \
    pip install --no-cache-dir --no-build-isolation --no-deps @copied_packages@ && \
#@ else
    PIP_USE_PEP517=1 pip install --no-cache-dir --no-build-isolation /tmp/code && \
#@ end
    rm -rf /tmp/code
USER app
#@ end

#@ if tested
# The command runs the tests. After a code change, rebuild first: run-image cicd --build
#@ else
# This fails, because no tests were found. When there are some, run them here.
#@ end
#@ if program
# To run the program instead: CMD @program@
#@ end
CMD @command@
