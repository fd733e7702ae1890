"""The reader of INI files: compared with configparser, and its messages."""

from __future__ import annotations

import configparser
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockerutils.core.errors import UserError
from dockerutils.project import ini

# Random text hardly ever contains a header or a key.
_FRAGMENTS = st.sampled_from(
    [
        "[a]",
        "[b]",
        "[DEFAULT]",
        "[a]b]",
        "[",
        "]",
        "[]",
        "k",
        "K",
        "key",
        "=",
        ":",
        " = ",
        " : ",
        "#",
        ";",
        "# no",
        "; no",
        " ",
        "  ",
        "\t",
        "value",
        "-v a:b",
        "%(x)s",
        "${y}",
        '"',
        "é",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u2028",
        "\xa0",
        "\r",
    ]
)
_LINES = st.lists(_FRAGMENTS, max_size=6).map("".join) | st.text(max_size=10)
_FILES = st.lists(_LINES, max_size=14).map("\n".join)


def _standard(text: str) -> dict[str, dict[str, str]] | None:
    """Return what configparser reads, None if it refuses the file."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    except configparser.Error:
        return None
    return {name: dict(parser[name]) for name in parser}


def _ours(file: ini.File) -> dict[str, dict[str, str]]:
    sections = {ini.DEFAULT: file.default, **file.sections}
    default = {key: value.text for key, value in file.default.values.items()}
    return {
        name: {**default, **{key: value.text for key, value in section.values.items()}}
        for name, section in sections.items()
    }


def _faults(file: ini.File) -> list[str]:
    return [*file.faults, *(fault for section in (file.default, *file.sections.values()) for fault in section.faults)]


@settings(max_examples=400, deadline=None)
@given(_FILES)
@example("[a]\nk = 1\n  2\n\n  3\n# no\n  4\nK: v\n[DEFAULT]\nd = x\n")
@example("[a]\n  k = 1\n k2 = 2\n    cont\n")
@example("[a]\nk = \n\n\n[a]b]\nk=v\n")
def test_reads_what_configparser_reads(text: str) -> None:
    expected = _standard(text)
    file = ini.parse(text, "f")
    if expected is None:
        assert _faults(file)
    else:
        assert _faults(file) == []
        assert _ours(file) == expected


@settings(max_examples=300, deadline=None)
@given(_FILES)
def test_every_value_knows_its_line(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for section in ini.parse(text, "f").sections.values():
        assert section.name in lines[section.place.line - 1]
        for key, value in section.values.items():
            assert lines[value.place.line - 1].strip().startswith(key)
            assert (value.section, value.key) == (section.name, key)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        pytest.param(
            "k = v", ["f:1: this line is before the first section; write a [section] line above it"], id="no section"
        ),
        pytest.param("[a]\n\nword", ["f:3: [a] this line is not a key; write it as key = value"], id="no key"),
        pytest.param("[a]\n= v", ["f:2: [a] this line is not a key; write it as key = value"], id="empty key"),
        pytest.param(
            "[a]\n[b]\n[a]", ["f:3: [a] duplicate section, also at line 1; merge the two"], id="duplicate section"
        ),
        pytest.param(
            "[a]\nk=1\n\nk=2", ["f:4: [a] k: duplicate key, also at line 2; remove one of the two"], id="duplicate key"
        ),
        pytest.param(
            "[DEFAULT]\nk=1\nk=2",
            ["f:3: [DEFAULT] k: duplicate key, also at line 2; remove one of the two"],
            id="default",
        ),
    ],
)
def test_faults_have_a_place(text: str, faults: list[str]) -> None:
    assert _faults(ini.parse(text, "f")) == faults


def test_a_fault_affects_only_its_section() -> None:
    file = ini.parse("[bad]\nword\n[good]\nk = v", "f")
    assert file.sections["good"].faults == []
    assert file.sections["good"].values["k"].text == "v"


def test_a_byte_order_mark_is_ignored(tmp_path) -> None:
    (tmp_path / "f").write_bytes("[ä]\nk = é\n".encode("utf-8-sig"))
    assert ini.read(str(tmp_path / "f"), "f").sections["ä"].values["k"].text == "é"


def test_bad_bytes_are_an_error_with_their_line(tmp_path) -> None:
    (tmp_path / "f").write_bytes(b"[a]\nk = \xff\n")
    with pytest.raises(UserError, match=r"^f:2: byte 0xff is not UTF-8; save the file as UTF-8$"):
        ini.read(str(tmp_path / "f"), "f")


def test_a_directory_is_an_error(tmp_path) -> None:
    with pytest.raises(UserError, match=r"^f is a directory; replace it with a configuration file$"):
        ini.read(str(tmp_path), "f")


def test_a_fifo_is_refused_at_once(tmp_path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(UserError, match=r"^f is not a file; replace it with a configuration file$"):
        ini.read(str(tmp_path / "f"), "f")


def test_a_missing_file_is_an_error(tmp_path) -> None:
    (tmp_path / "f").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"^f cannot be read: No such file or directory; remove or replace it$"):
        ini.read(str(tmp_path / "f"), "f")
