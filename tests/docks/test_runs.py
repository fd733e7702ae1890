"""The labels of runs, and how they are found again."""

from __future__ import annotations

import os

from dockerutils.docks import runs
from dockerutils.docks.runs import Run


def test_labels_say_whose_a_run_is(make_project) -> None:
    project = make_project({})
    assert runs.labels(project, "train") == [
        *("--label", "dockerutils.project=app"),
        *("--label", "dockerutils.image=train"),
        *("--label", "dockerutils.user=alice"),
        *("--label", f"dockerutils.origin={os.uname().nodename}:{project.root}"),
    ]


def test_what_docker_prints_is_read_as_data() -> None:
    good = "alice_train_1\tUp 3 hours\tapp\ttrain\talice\tlaptop:/home/alice/my\tapp"
    bad = [
        "",
        "\t\t\t\t\t",
        "-rf\tUp\tapp\ttrain\talice\tx",
        "a b\tUp\tapp\ttrain\talice\tx",
        "name\tUp",
        "\x1b[2J\tUp\ta\tb\tc\td",
    ]
    found = runs.parse("\n".join([*bad, good]))
    assert found == [Run("alice_train_1", "Up 3 hours", "app", "train", "alice", "laptop:/home/alice/my\tapp")]
    assert found[0].is_running
    assert runs.marked(f"uptime=3\n{good}\nrun={good}\nrun=\n") == found
    assert not found[0]._replace(status="Exited (0) 2 days ago").is_running
    assert runs.table(found).splitlines()[1] == ("alice_train_1  train  Up 3 hours  laptop:/home/alice/my\\tapp")
