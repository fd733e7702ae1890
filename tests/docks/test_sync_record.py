"""What this machine remembers of a sync."""

from __future__ import annotations

import os

from dockerutils.docks import sync_record
from dockerutils.docks.sync_record import Record
from tests.support import write_tree


def test_a_record_knows_what_rsync_skipped(tmp_path) -> None:
    directory = str(tmp_path)
    assert sync_record.read("app", directory, "/w/app") == Record()
    lines = [b"building file list", b"a b is newer", b"\\#303\\#251\\#012x is newer", b"c", b"sent 1 bytes"]
    log = b"".join(b"2026/11/21 13:26:00 [30658] " + line + b"\n" for line in lines)
    (tmp_path / "sync-app.log").write_bytes(log)
    sync_record.write("app", directory, "/w/app", 1234.5)
    assert sync_record.read("app", directory, "/w/app") == Record(1234.5, frozenset({"a b", "é\nx"}))
    # Another checkout has not been synced.
    assert sync_record.read("app", directory, "/w/other/app") == Record()
    sync_record.remove_log("app", directory)
    sync_record.write("app", directory, "/w/app", 2000)
    assert sync_record.read("app", directory, "/w/app") == Record(2000, frozenset())


def test_conflicts_are_put_beside_the_files(tmp_path) -> None:
    replaced = {"old": "1", "new": "2", "d/skipped": "3", "d/new": "4"}
    write_tree(tmp_path, {f".dockerutils/replaced-here/{path}": text for path, text in replaced.items()})
    write_tree(tmp_path, {"new": "", "new~": "", "d/new": "", "d/skipped": ""})
    (tmp_path / ".dockerutils/replaced-here/link").symlink_to("d")
    for path in ["old", "d/skipped"]:
        os.utime(tmp_path / ".dockerutils/replaced-here" / path, (100, 100))
    kept = sync_record.keep_conflicts(str(tmp_path), Record(1000, frozenset({"d/skipped"})))
    assert kept == [("d/new", "d/new~"), ("d/skipped", "d/skipped~"), ("link", "link~"), ("new", "new~2")]
    assert (tmp_path / "new~2").read_text() == "2"
    assert (tmp_path / "link~").is_symlink()
    assert not (tmp_path / ".dockerutils").exists()


def test_the_state_of_a_copy_stays(tmp_path) -> None:
    write_tree(tmp_path, {".dockerutils/origin": "host:/app", ".dockerutils/replaced/a": "1"})
    assert sync_record.keep_conflicts(str(tmp_path), Record()) == []
    assert (tmp_path / ".dockerutils/replaced/a").exists()
