"""Files that are written whole or not at all, and temporary copies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from dockerutils.core import files
from tests.support import first_line

# Holds a copy of `t` at `f` until its standard input ends.
HOLD_A_COPY = """
import sys
from dockerutils.core import files
with files.temporary_copy("t", "f", lambda: print("waiting", flush=True)):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture
def hold_copy(folder):
    """Return a function that starts a process which holds a copy, and returns it."""
    children = []

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD_A_COPY],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(files.__file__)))},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def _end(child: subprocess.Popen[str]) -> None:
    child.communicate(timeout=60)
    assert child.returncode == 0


def test_write_replaces_the_content(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    files.write(str(path), "néw")
    assert path.read_text(encoding="utf-8") == "néw"
    assert os.listdir(folder) == ["f"]


def test_write_sets_mode_and_owner(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    before = path.stat()
    files.write(str(path), "new", mode=0o604, owner=before)
    after = path.stat()
    assert (after.st_mode & 0o7777, after.st_uid, after.st_gid) == (0o604, 1234, 2345)
    files.write(str(path), "new", owner=os.stat(folder))
    assert path.stat().st_uid == os.geteuid()


def test_write_uses_the_default_permissions_of_new_files(folder) -> None:
    before = os.umask(0o027)
    try:
        files.write("f", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o640


def test_write_keeps_bytes_that_are_not_utf_8(folder) -> None:
    path = folder / "f"
    files.write(str(path), b"\xff\r\n".decode(errors="surrogateescape"))
    assert path.read_bytes() == b"\xff\r\n"


def test_a_failed_write_changes_nothing(folder) -> None:
    path = folder / "f"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write(str(path), "new\ud800")
    assert path.read_text() == "old"
    assert os.listdir(folder) == ["f"]


def test_writers_in_containers_with_the_same_process_id_do_not_disturb_each_other(folder) -> None:
    """Two writers of one process have the same process id, as the first processes of two containers do."""
    texts = [f"{number}\n" * 20000 for number in range(4)]

    def write(text: str) -> None:
        for _ in range(50):
            files.write("f", text)

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write, texts))
    assert (folder / "f").read_text() in texts
    assert os.listdir(folder) == ["f"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_copy_exists_during_the_block_with_the_permissions_of_its_template(folder, mode: int) -> None:
    (folder / "t").write_text("x\n")
    (folder / "t").chmod(mode)
    with files.temporary_copy("t", "f"):
        assert (folder / "f").read_text() == (
            "# Copied from t by dockerutils and deleted after the build. Edit that file, not this one.\nx\n"
        )
        assert stat.S_IMODE(os.stat("f").st_mode) == mode
        assert sorted(os.listdir(folder)) == ["f", "t"]
    assert os.listdir(folder) == ["t"]


def test_a_copy_is_deleted_after_a_failure(folder) -> None:
    (folder / "t").write_text("x")
    with pytest.raises(KeyboardInterrupt), files.temporary_copy("t", "f"):
        raise KeyboardInterrupt
    assert os.listdir(folder) == ["t"]


@pytest.mark.parametrize("text", ["x", "other", ""])
def test_a_file_of_the_user_is_not_touched(folder, text: str) -> None:
    (folder / "t").write_text("x")
    (folder / "f").write_text(text)
    with files.temporary_copy("t", "f"):
        assert (folder / "f").read_text() == text
    assert (folder / "f").read_text() == text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("t", path)])
def test_what_is_not_a_regular_file_is_not_touched(folder, make) -> None:
    (folder / "t").write_text("x")
    make("f")
    before = os.lstat("f")
    with files.temporary_copy("t", "f"):
        assert os.path.samestat(os.lstat("f"), before)
    assert os.path.samestat(os.lstat("f"), before)


def test_a_file_that_replaced_the_copy_stays(folder) -> None:
    (folder / "t").write_text("x")
    with files.temporary_copy("t", "f"):
        (folder / "other").write_text("of the user")
        os.replace(folder / "other", folder / "f")
    assert (folder / "f").read_text() == "of the user"


def test_without_a_template_nothing_happens(folder) -> None:
    with files.temporary_copy("t", "f"):
        assert os.listdir(folder) == []


def test_the_user_can_delete_the_copy(folder) -> None:
    (folder / "t").write_text("x")
    with files.temporary_copy("t", "f"):
        os.unlink("f")
    assert os.listdir(folder) == ["t"]


def test_the_copy_of_a_killed_process_is_replaced(folder, hold_copy) -> None:
    (folder / "t").write_text("old token")
    killed = hold_copy()
    assert first_line(killed) == "ready\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "old token" in (folder / "f").read_text()
    (folder / "t").write_text("new token")
    with files.temporary_copy("t", "f"):
        assert "new token" in (folder / "f").read_text()
        assert sorted(os.listdir(folder)) == ["f", "t"]
    assert os.listdir(folder) == ["t"]


def test_the_copy_of_a_killed_process_is_deleted_even_if_it_is_current(folder, hold_copy) -> None:
    (folder / "t").write_text("token")
    killed = hold_copy()
    assert first_line(killed) == "ready\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with files.temporary_copy("t", "f"):
        assert os.path.exists("f")
    assert os.listdir(folder) == ["t"]


def test_processes_share_a_copy_and_the_last_one_deletes_it(folder, hold_copy) -> None:
    (folder / "t").write_text("token")
    children = [hold_copy() for _ in range(4)]
    assert [first_line(child) for child in children] == ["ready\n"] * 4
    for child in children:
        assert "token" in (folder / "f").read_text()
        _end(child)
    assert os.listdir(folder) == ["t"]


def test_a_process_with_another_template_waits_for_those_that_use_the_copy(folder, hold_copy) -> None:
    (folder / "t").write_text("first")
    early = hold_copy()
    assert first_line(early) == "ready\n"
    (folder / "t").write_text("second")
    late = hold_copy()
    assert first_line(late) == "waiting\n"
    assert "first" in (folder / "f").read_text()
    _end(early)
    assert first_line(late) == "ready\n"
    assert "second" in (folder / "f").read_text()
    _end(late)
    assert os.listdir(folder) == ["t"]


def test_many_processes_find_a_leftover_at_once(folder, hold_copy) -> None:
    (folder / "t").write_text("old")
    killed = hold_copy()
    assert first_line(killed) == "ready\n"
    killed.kill()
    killed.wait()
    (folder / "t").write_text("new")
    children = [hold_copy() for _ in range(6)]
    for child in children:
        while first_line(child) != "ready\n":  # it waits while another one replaces the leftover
            assert child.poll() is None
    for child in children:
        assert (folder / "f").read_text().endswith("new")
        _end(child)
    assert os.listdir(folder) == ["t"]
