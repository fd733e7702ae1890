"""Files written whole or not at all, and files that stand in for a while."""

from __future__ import annotations

import os

import pytest

from dockerutils import files


def test_write_replaces(tmp_path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    files.write(str(path), "néw")
    assert path.read_text(encoding="utf-8") == "néw"
    assert os.listdir(tmp_path) == ["f"]


def test_a_failed_write_loses_nothing(tmp_path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write(str(path), "new\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_borrowed_stands_for_the_time_of_the_block(tmp_path) -> None:
    template, path = tmp_path / "t", tmp_path / "f"
    template.write_text("x")
    with files.borrowed(str(template), str(path)):
        assert path.read_text() == "x"
    assert not path.exists()


def test_borrowed_is_gone_after_a_failure(tmp_path) -> None:
    template, path = tmp_path / "t", tmp_path / "f"
    template.write_text("x")
    with pytest.raises(KeyboardInterrupt), files.borrowed(str(template), str(path)):
        raise KeyboardInterrupt
    assert not path.exists()


@pytest.mark.parametrize("theirs", ["x", "theirs"])
def test_a_file_of_the_users_is_never_touched(tmp_path, theirs: str) -> None:
    template, path = tmp_path / "t", tmp_path / "f"
    template.write_text("x")
    path.write_text(theirs)
    with files.borrowed(str(template), str(path)):
        assert path.read_text() == theirs
    assert path.read_text() == theirs


def test_a_file_put_in_the_place_of_ours_stays(tmp_path) -> None:
    template, path = tmp_path / "t", tmp_path / "f"
    template.write_text("x")
    with files.borrowed(str(template), str(path)):
        (tmp_path / "other").write_text("theirs")
        os.replace(tmp_path / "other", path)
    assert path.read_text() == "theirs"


def test_no_template(tmp_path) -> None:
    with files.borrowed(str(tmp_path / "t"), str(tmp_path / "f")):
        assert os.listdir(tmp_path) == []


def test_removed_by_the_user_meanwhile(tmp_path) -> None:
    (tmp_path / "t").write_text("x")
    with files.borrowed(str(tmp_path / "t"), str(tmp_path / "f")):
        os.unlink(tmp_path / "f")
