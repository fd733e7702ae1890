#@ if installs
#@ include syntax
#@ end
# Python and the dependencies of @project@. The other images are built on this one and add the code, so code changes
# do not rebuild it.

# Python @python@: @reason@.
# slim is Debian without compilers. To try another base: BASE=python:@python@-bookworm build-image base
ARG BASE=python:@python@-slim

#@ if installs
FROM $BASE AS builder
#@ else
FROM $BASE
#@ end
# A virtual environment is separate from Debian's own packages, and can be copied as a whole.
#@ if has_dependencies
# Without setuptools, because older Pythons bring one that is too old for builds.
RUN python3 -m venv /venv && /venv/bin/pip uninstall --quiet --yes setuptools
#@ else
RUN python3 -m venv /venv
#@ end
#@ if installs
#@ if apt_build
# Likely needed to install @apt_reasons@. If the build fails without it, remove the number sign:
# RUN apt-get update && apt-get install --yes --no-install-recommends @apt_build@
#@ end
ENV PATH=/venv/bin:$PATH
WORKDIR /build
#@ include install-@installer@
#@ if build_system
# The build tools of the project. They are not in /venv, which has only what @lock_file@ lists.
COPY @metadata@ docker/base/needs ./
#@ if buildkit
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
#@ else
RUN \
#@ end
    python3 needs --build @directories@ >needed.txt && \
    pip install --target /opt/build-system -r needed.txt
#@ end

FROM $BASE
#@ if apt_run
# Likely needed to run it:
# RUN apt-get update && apt-get install --yes --no-install-recommends @apt_run@ && rm -rf /var/lib/apt/lists/*
#@ end
COPY --from=builder /venv /venv
#@ if build_system
COPY --from=builder /opt/build-system /opt/build-system
#@ end
#@ end
# Programs do not need root.
RUN useradd --create-home app && install -d -o app -g app /code
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
#@ if scm_variables
# A fixed version: the images have no .git to read it from.
ENV @scm_variables@
#@ end
WORKDIR /code
USER app
