"""What is read of a Dockerfile: stages, the images it is built from, faults."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import UserError
from dockerutils.project import dockerfile


def _bases(text: str, **arguments: str) -> list[str]:
    return dockerfile.parse(text).bases(arguments)


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        pytest.param("FROM a:1", ["a:1"], id="plain"),
        pytest.param("from --platform=linux/amd64 a as x\nFROM x\nFROM b", ["a", "b"], id="stages are no images"),
        pytest.param("FROM scratch", [], id="scratch"),
        pytest.param(
            "FROM a AS one\nFROM b\nCOPY --from=one /x /\nCOPY --from=c:2 --chown=1 /x /\nCOPY --from=0 / /",
            ["a", "b", "c:2"],
            id="COPY --from",
        ),
        pytest.param("FROM a\nRUN --mount=type=bind,from=d,target=/x true", ["a", "d"], id="RUN --mount"),
        pytest.param("ARG B=a:1\nFROM $B", ["a:1"], id="ARG"),
        pytest.param('ARG R="host:5000" B\nFROM ${R}/${B:-x}:${T:+no}1', ["host:5000/x:1"], id="forms of variables"),
        pytest.param("FROM a\nARG B=late\nFROM $B", ["a", ""], id="ARG of a stage"),
        pytest.param("FROM \\\n  # why\n\n  a \\\n AS x", ["a"], id="continued"),
        pytest.param("# escape=`\nFROM `\n a", ["a"], id="escape directive"),
        pytest.param("# syntax=docker/dockerfile:1\n# escape=`\nFROM a", ["a"], id="two directives"),
        pytest.param(
            "FROM a\nRUN <<EOT\nFROM b\nEOT\nCOPY <<-'X' /f\nFROM c\nX\nCOPY --from=d / /",
            ["a", "d"],
            id="here-documents",
        ),
        pytest.param("FROM\ta", ["a"], id="tab"),
    ],
)
def test_bases(text: str, bases: list[str]) -> None:
    assert _bases(text) == bases


def test_build_arguments_come_before_defaults() -> None:
    options = ["--build-arg", "A=1", "--no-cache", "--build-arg=B=2", "--build-arg", "C", "--build-arg", "D"]
    arguments = dockerfile.build_arguments(options, {"C": "3"})
    assert arguments == {"A": "1", "B": "2", "C": "3"}
    assert _bases("ARG A=x\nARG D=d\nFROM i:$A-$D", **arguments) == ["i:1-d"]


@pytest.mark.parametrize("spelling", ["builder", "Builder", "BUILDER"])
def test_builder_stage_in_any_case(spelling: str) -> None:
    assert dockerfile.parse(f"FROM a As {spelling}\nFROM b").builder == spelling


def test_no_builder_stage() -> None:
    assert dockerfile.parse("FROM builder\nFROM b AS other").builder is None


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        pytest.param("FROM a\nRUN x", [], id="none"),
        pytest.param("", [(1, "there is no FROM; begin with the image that it is built from")], id="empty"),
        pytest.param("ARG A=1", [(1, "there is no FROM; begin with the image that it is built from")], id="ARG alone"),
        pytest.param(
            "\nRUN x\nFROM a",
            [(2, "RUN stands before FROM; begin with the image that it is built from")],
            id="RUN first",
        ),
        pytest.param("FROM a\nCOPPY x y", [(2, "COPPY is no instruction; did you mean COPY?")], id="typo"),
        pytest.param("FROM a\nQQQ x", [(2, "QQQ is no instruction; see the Dockerfile reference")], id="unknown"),
        pytest.param("FROM a\nRUN", [(2, "RUN has no arguments; add them")], id="no arguments"),
    ],
)
def test_faults(text: str, faults: list[tuple[int, str]]) -> None:
    assert list(dockerfile.parse(text).faults()) == faults


def test_files_that_cannot_be_read_are_told(tmp_path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, message in [
        ("absent", "D does not exist; write it, or name another image"),
        ("", "D is a directory; it should be a file of build instructions"),
        ("loop", "D cannot be read: Too many levels of symbolic links; mend its permissions"),
    ]:
        with pytest.raises(UserError) as error:
            dockerfile.read(str(tmp_path / path), "D")
        assert str(error.value) == message
