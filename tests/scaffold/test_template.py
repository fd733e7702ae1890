"""The language of the templates."""

from __future__ import annotations

import pytest

from dockerutils.scaffold import template

INCLUDED = "RUN @name@\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM @name@\n# a@b.c @\n", "FROM x\n# a@b.c @\n"),
        ("#@ if yes\na\n#@ else\nb\n#@ end\nc\n", "a\nc\n"),
        ("#@ if no\na\n#@ else\nb\n#@ end\nc\n", "b\nc\n"),
        ("#@ if nothing\na\n#@ end\n", ""),
        ("#@ if no\n#@ if yes\na\n#@ else\nb\n#@ end\n#@ else\nc\n#@ end\n", "c\n"),
        ("#@ for each in list\n- @each@ @name@\n#@ end\n", "- a x\n- b x\n"),
        ("#@ for each in nothing\n@each@\n#@ end\nz\n", "z\n"),
        ("#@ for each in list\n#@ for other in list\n@each@@other@\n#@ end\n#@ end\n", "aa\nab\nba\nbb\n"),
        (
            "RUN \\\n#@ and\n    fir\\\n      st\n#@ if no\n    never\n#@ end\n#@ for each in list\n    do @each@\n#@ end\n#@ end\nCMD\n",
            "RUN \\\n    fir\\\n      st && \\\n    do a && \\\n    do b\nCMD\n",
        ),
        ("#@ include part\n#@ if yes\n#@ include @part@\n#@ end\n", "RUN x\nRUN x\n"),
    ],
)
def test_directives(tmp_path, monkeypatch, text, expected) -> None:
    monkeypatch.setattr(template, "_DIRECTORY", str(tmp_path))
    (tmp_path / "text").write_text(text)
    (tmp_path / "part").write_text(INCLUDED)
    values: template.Values = {
        "name": "x",
        "yes": True,
        "no": False,
        "list": ["a", "b"],
        "nothing": list[str](),
        "part": "part",
    }
    assert template.fill_in("text", values) == expected


def test_missing_values_are_errors(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(template, "_DIRECTORY", str(tmp_path))
    (tmp_path / "text").write_text("#@ if missing\n#@ end\n")
    with pytest.raises(KeyError):
        template.fill_in("text", {})
