"""Files written whole or not at all, and files that stand in for a while."""

from __future__ import annotations

import os

import pytest

from dockerutils.core import files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_write_replaces(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    files.write(str(path), "néw")
    assert path.read_text(encoding="utf-8") == "néw"
    assert os.listdir(folder) == ["f"]


def test_write_with_a_mode_and_an_owner(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    before = path.stat()
    files.write(str(path), "new", mode=0o604, owner=before)
    after = path.stat()
    assert (after.st_mode & 0o7777, after.st_uid, after.st_gid) == (0o604, 1234, 2345)
    files.write(str(path), "new", owner=os.stat(folder))
    assert path.stat().st_uid == os.geteuid()


def test_bytes_that_are_no_utf_8(folder) -> None:
    path = folder / "f"
    files.write(str(path), b"\xff\r\n".decode(errors="surrogateescape"))
    assert path.read_bytes() == b"\xff\r\n"


def test_a_failed_write_loses_nothing(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write(str(path), "new\ud800")
    assert path.read_text() == "old"
    assert os.listdir(folder) == ["f"]


def test_borrowed_stands_for_the_time_of_the_block(folder) -> None:
    template, path = folder / "t", folder / "f"
    template.write_text("x")
    with files.borrowed(str(template), str(path)):
        assert path.read_text() == "x"
    assert not path.exists()


def test_borrowed_is_gone_after_a_failure(folder) -> None:
    template, path = folder / "t", folder / "f"
    template.write_text("x")
    with pytest.raises(KeyboardInterrupt), files.borrowed(str(template), str(path)):
        raise KeyboardInterrupt
    assert not path.exists()


@pytest.mark.parametrize("theirs", ["x", "theirs"])
def test_a_file_of_the_users_is_never_touched(folder, theirs: str) -> None:
    template, path = folder / "t", folder / "f"
    template.write_text("x")
    path.write_text(theirs)
    with files.borrowed(str(template), str(path)):
        assert path.read_text() == theirs
    assert path.read_text() == theirs


def test_a_file_put_in_the_place_of_ours_stays(folder) -> None:
    template, path = folder / "t", folder / "f"
    template.write_text("x")
    with files.borrowed(str(template), str(path)):
        (folder / "other").write_text("theirs")
        os.replace(folder / "other", path)
    assert path.read_text() == "theirs"


def test_no_template(folder) -> None:
    with files.borrowed(str(folder / "t"), str(folder / "f")):
        assert os.listdir(folder) == []


def test_removed_by_the_user_meanwhile(folder) -> None:
    (folder / "t").write_text("x")
    with files.borrowed(str(folder / "t"), str(folder / "f")):
        os.unlink(folder / "f")
