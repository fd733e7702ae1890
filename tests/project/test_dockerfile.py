"""The stages of a Dockerfile, the images it is built from, and its faults."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dockerutils.core.errors import UserError
from dockerutils.project import dockerfile
from dockerutils.project.dockerfile import INSTRUCTIONS

NO_FROM = (1, "there is no FROM; start with FROM and the base image")


def _bases(text: str, **arguments: str) -> list[str]:
    return dockerfile.parse(text).bases(arguments)


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        pytest.param("FROM a:1", ["a:1"], id="plain"),
        pytest.param("from --platform=linux/amd64 a as x\nFROM x\nFROM b", ["a", "b"], id="stages are not images"),
        pytest.param("FROM scratch", [], id="scratch"),
        pytest.param('FROM "x:1"', ["x:1"], id="quotes"),
        pytest.param("FROM\ta\tAS\tb\nFROM\tb", ["a"], id="tabs"),
        pytest.param("FROM alpine AS alpine\nFROM alpine", ["alpine"], id="a stage with the name of its image"),
        pytest.param("FROM b\nFROM a AS b", ["b", "a"], id="a later stage is not a base"),
        pytest.param(
            "FROM a AS One\nFROM b\nCOPY --from=one /x /\nCOPY --from=c:2 --chown=1 /x /\nCOPY --from=0 / /",
            ["a", "b", "c:2"],
            id="COPY --from",
        ),
        pytest.param("FROM a\nCOPY a --from=b /\nRUN echo --mount=type=bind,from=c", ["a"], id="not flags"),
        pytest.param("FROM a\nRUN --mount=type=bind,from=d,target=/x true", ["a", "d"], id="RUN --mount"),
        pytest.param("FROM a\nRUN --mount=target=/x,FROM=d --mount=from=e true", ["a", "d", "e"], id="two mounts"),
        pytest.param("ARG B=a:1\nFROM $B", ["a:1"], id="ARG"),
        pytest.param('ARG R="host:5000" B\nFROM ${R}/${B:-x}:${T:+no}1', ["host:5000/x:1"], id="forms of variables"),
        pytest.param("ARG O=o\nARG R=$O/r\nARG I=${R}:1\nFROM $I", ["o/r:1"], id="defaults that name earlier ARGs"),
        pytest.param("ARG A=x B=$A-y\nFROM $B", ["x-y"], id="an earlier ARG of the same line"),
        pytest.param("ARG A=x\nARG A\nFROM $A", ["x"], id="ARG again, without a default"),
        pytest.param("ARG A=x\nARG A=\nFROM ${A:-y}${A-z}", ["y"], id="an empty default"),
        pytest.param("ARG A='b c'\nFROM ${A%%?c}", ["b"], id="a default in quotes"),
        pytest.param("FROM a\nARG B=late\nFROM $B", ["a"], id="ARG of a stage"),
        pytest.param("FROM ${A:?unset}\nFROM b", ["b"], id="an image that docker rejects"),
        pytest.param("FROM \\\n  # why\n\n  a \\\n AS x", ["a"], id="continued"),
        pytest.param("# escape=`\nFROM `\n a", ["a"], id="escape directive"),
        pytest.param("FROM a\nRUN python -c 'print(1 << n)'\nFROM b", ["a", "b"], id="not a here-document"),
        pytest.param("FROM a\nRUN <<EOT\nFROM b\n EOT\nEOT\nCOPY --from=d / /", ["a", "d"], id="here-document"),
        pytest.param("FROM a\nONBUILD COPY --from=b / /", ["a"], id="ONBUILD is for later builds"),
    ],
)
def test_bases(text: str, bases: list[str]) -> None:
    assert _bases(text) == bases


def test_build_arguments_replace_defaults() -> None:
    options = ["--build-arg", "A=1", "--no-cache", "--build-arg=B=2", "--build-arg", "C", "--build-arg", "D"]
    arguments = dockerfile.build_arguments(options, {"C": "3"})
    assert arguments == {"A": "1", "B": "2", "C": "3"}
    assert _bases("ARG A=x\nARG D=d\nFROM i:$A-$D$UNDECLARED", **arguments, UNDECLARED="no") == ["i:1-d"]


def test_variables_of_the_platform() -> None:
    text = "FROM $TARGETOS-$TARGETARCH-$TARGETVARIANT AS x\nFROM $TARGETPLATFORM-$TARGETSTAGE"
    arguments = dockerfile.build_arguments(["--platform=linux/arm/v7,linux/amd64"], {})
    assert _bases(text, **arguments) == ["linux-arm-v7", "linux/arm/v7-x"]
    arguments = dockerfile.build_arguments(["--platform", "linux/arm64", "--build-arg", "TARGETARCH=mine"], {})
    assert _bases(text, **arguments) == ["linux-mine-", "linux/arm64-x"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    assert _bases("FROM $BUILDOS/$BUILDARCH\nFROM $TARGETPLATFORM$TARGETSTAGE") == [
        f"linux/{machine}", f"linux/{machine}default"
    ]  # fmt: skip


@pytest.mark.parametrize("spelling", ["builder", "Builder", "BUILDER"])
def test_builder_stage_in_any_case(spelling: str) -> None:
    assert dockerfile.parse(f"FROM\ta As {spelling}\nFROM b").builder == spelling


def test_no_builder_stage() -> None:
    assert dockerfile.parse("FROM builder\nFROM b AS other").builder is None


VALID = """\
FROM a
CMD
ENTRYPOINT
RUN
ENV a b c
ENV A="b c" D=e
LABEL "one two"=3
SHELL ["/bin/sh", "-c"]
COPY ["a b", "/"]
COPY a /
EXPOSE 80
ARG X
HEALTHCHECK NONE
ONBUILD RUN x
MAINTAINER me
USER a
WORKDIR /a b
VOLUME /x
STOPSIGNAL 9
ADD a b /
COPY --from=a a /
"""


def test_no_faults() -> None:
    content = dockerfile.parse(VALID)
    assert list(content.faults({})) == []
    assert {each.keyword for each in content.instructions} == set(INSTRUCTIONS)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", [NO_FROM]),
        ("ARG A=1", [NO_FROM]),
        ("\nRUN x\nFROM a", [(2, "RUN comes before FROM; start with FROM and the base image")]),
        ("FROM a\nCOPPY x y", [(2, "COPPY is not an instruction; did you mean COPY?")]),
        ("FROM a\nQQQ x", [(2, "QQQ is not an instruction; see the Dockerfile reference")]),
        ("FROM a\nUSER", [(2, "USER needs an argument; add it")]),
        ("FROM a\nCOPY x", [(2, "COPY needs a source and a destination; add them")]),
        ("FROM", [(1, "FROM needs an argument; add it")]),
        ("FROM a b", [(1, "FROM has too many arguments; write FROM image, or FROM image AS name")]),
        ("FROM a AS 1", [(1, "'1' is not a valid name for a stage; use letters, digits, '_', '.' and '-', a letter first")]),
        ("FROM a\nSHELL sh", [(2, 'SHELL needs a JSON array; write it as ["/bin/bash", "-c"]')]),
        ("FROM a\nENV A", [(2, "ENV A has no value; write name=value, with quotes around white space")]),
        ("FROM a\nLABEL a=b c", [(2, "LABEL c has no value; write name=value, with quotes around white space")]),
        ("FROM a\nCOPY --from=$B x /", [(2, "docker does not expand variables in --from; add FROM with the variable AS name, and copy from that")]),
        ("FROM a\nRUN <<EOF", [(2, "the here-document does not end; add a line EOF")]),
    ],
)  # fmt: skip
def test_faults(text: str, faults: list[tuple[int, str]]) -> None:
    assert list(dockerfile.parse(text).faults({})) == faults


def test_faults_in_variables_depend_on_the_build_arguments() -> None:
    content = dockerfile.parse("ARG A\nFROM $A\nFROM ${A:?unset}\nFROM ${A@Q}")
    unsupported = (4, "docker rejects ${A@Q}: docker does not support ${A@…}")
    assert list(content.faults()) == []
    assert list(content.faults({"A": "x"})) == [unsupported]
    assert list(content.faults({})) == [
        (2, "FROM $A is empty; set a default with ARG, or a value in build_args"),
        (3, "docker rejects ${A:?unset}: A: unset"),
        unsupported,
    ]


def test_a_fault_in_a_default() -> None:
    content = dockerfile.parse("ARG A=${B:?unset}\nARG B=x\nFROM $A")
    assert list(content.faults({"A": "x"})) == []
    assert list(content.faults({})) == [
        (1, "docker rejects A=${B:?unset}: B: unset"),
        (3, "FROM $A is empty; set a default with ARG, or a value in build_args"),
    ]


def test_files_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "docker").mkdir()
    for path, message in [
        ("absent", "absent does not exist; create it, or name another image"),
        ("docker", "docker is a directory; replace it with a Dockerfile"),
        ("loop", "loop cannot be read: Too many levels of symbolic links; remove or replace it"),
    ]:
        with pytest.raises(UserError) as error:
            dockerfile.read(str(tmp_path), path)
        assert str(error.value) == message


def test_a_carriage_return_ends_no_line(tmp_path) -> None:
    (tmp_path / "D").write_bytes(b"\xef\xbb\xbfFROM a\r\nRUN b\rFROM c\r\n")
    assert dockerfile.read(str(tmp_path), "D").bases({}) == ["a"]


# What BuildKit itself finds in these is compared with what is found here.
FOR_BUILDKIT = [
    VALID,
    "FROM\ta AS one\nFROM one\nRUN\tapt-get x\nFROM b\tAS\ttwo",
    "FROM a AS x\nRUN <<1\nFROM b AS y\n1\nFROM c",
    "FROM a\nRUN python -c 'print(1 << n)' && echo $((1<<N)) \"<<EOF\" && cat <<<word\nFROM b AS z",
    "FROM a\nRUN <<EOF\n EOF\nFROM x AS y\nEOF\nONBUILD RUN <<EOF\nFROM q AS r\nEOF\nFROM d",
    "FROM a\nRUN x \\\\\nFROM b AS y\nRUN v\vw\u2028x\x85y\x0cz\nFROM c",
    "# foo=bar\n# escape=`\nFROM a AS b\nRUN x `\nFROM c AS d",
    "#escape = `\nFROM a AS b\nRUN x `\n# y\n\nFROM c AS d",
    '\ufeffFROM "a:1" AS Builder\r\nCOPY --from=builder \\\r\n a /\r\nFROM alpine AS alpine\r\n',
    "FROM a\nRUN ${x,,} <<EOF\nFROM b AS c",
    "FROM a\nRUN it's <<EOF\nFROM b AS c",
    "FROM a b",
    "FROM a AS 1x",
    "FROM a\nRUN <<EOF\nx",
    "FROM a\nCOPY x",
    "FROM a\nUSER",
    "FROM a\nENV x",
    "FROM a\nLABEL a=b c",
    "FROM a\nSHELL x",
    "FROM a\nCOPPY a b",
    "RUN x\nFROM a",
    "# escape=x\nFROM a",
]


def _targets(directory: Path, text: str) -> list[tuple[int, str, str]] | None:
    """Return the stages that BuildKit finds in a Dockerfile, with line, name and base; None if it rejects the file."""
    (directory / "Dockerfile").write_text(text, encoding="utf-8", newline="")
    # --call in later versions of buildx
    command = ["docker", "buildx", "build", "--progress=plain", "--print=targets,format=json", str(directory)]
    env = {**os.environ, "BUILDX_EXPERIMENTAL": "1"}
    child = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    if child.returncode:
        assert b"[internal] load build definition from Dockerfile" in child.stderr, child.stderr
        return None
    found: list[dict[str, Any]] = json.loads(child.stdout)["targets"]
    return [(each["location"]["ranges"][0]["start"]["line"], each.get("name", ""), each["base"]) for each in found]


def test_stages_and_faults_are_those_of_buildkit(containerd_engine, tmp_path) -> None:
    for text in FOR_BUILDKIT:
        content = dockerfile.parse(text)
        froms = [each for each in content.instructions if each.keyword == "FROM"]
        own = [(each.line, each.words[2].lower() if len(each.words) == 3 else "", each.words[0]) for each in froms]
        expected = _targets(tmp_path, text)
        if expected is None:
            assert list(content.faults()), text
        else:
            assert (own, list(content.faults())) == (expected, []), text


# Each of these is local/busybox for BuildKit.
EXPRESSIONS = [
    "$IMAGE",
    '"local/busybox"',
    "${ORGANISATION}/busybox",
    "${UNSET:-local/busybox}",
    "${UNSET-$ORGANISATION}/busybox",
    "local/busybox${EMPTY-:no}",
    "local/busybox${EMPTY:+:no}",
    "local/busybox${EMPTY+:latest}",
    "${IMAGE:?no}",
    "${NESTED}",
    "${UNSET:-${EMPTY:-'local/busybox'}}",
]


def test_images_are_those_that_buildkit_builds_from(containerd_engine, tmp_path) -> None:
    stages = "".join(f"FROM {expression} AS s{number}\n" for number, expression in enumerate(EXPRESSIONS))
    copies = "".join(f"COPY --from=s{number} /bin/busybox /{number}\n" for number in range(len(EXPRESSIONS)))
    text = (
        "ARG ORGANISATION=local EMPTY\nARG EMPTY=\nARG IMAGE='local'/busybox\n"
        f'ARG NESTED="${{ORGANISATION}}/${{UNSET:-busybox}}"\n{stages}FROM scratch\n{copies}'
    )
    (tmp_path / "Dockerfile").write_text(text)
    assert {name.partition(":")[0] for name in _bases(text)} == {"local/busybox"}
    assert list(dockerfile.parse(text).faults({})) == []
    subprocess.run(["docker", "build", "-q", str(tmp_path)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("RUN --mount=type=secret,id=token true", {"token"}),
        ("RUN --mount=type=secret,target=/etc/pip.conf true", {"pip.conf"}),
        ("RUN --mount=type=secret,id=a,dst=/b --mount=type=secret,id=c,env=C true", {"a", "c"}),
        ("RUN --mount=type=cache,id=a --mount=type=ssh,id=b true", set()),
        ("RUN echo --mount=type=secret,id=token", set()),
    ],
)
def test_secrets(line, secrets) -> None:
    assert dockerfile.parse(f"FROM x\n{line}\n").secrets == secrets
