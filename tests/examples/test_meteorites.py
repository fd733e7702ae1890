"""The example: what its script says of data good and bad, and the whole of it, built and run on a real engine."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support import script

EXAMPLE = Path(__file__).parents[2] / "examples" / "meteorites"
DATA = "data/meteorites.json"
GOOD = {"name": "Aachen", "year": 1880, "mass_g": 21, "latitude": 50.775, "longitude": 6.08333}


@pytest.fixture(name="meteorites", scope="module")
def _meteorites() -> ModuleType:
    spec = importlib.util.spec_from_file_location("meteorites", EXAMPLE / "meteorites.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(records: list[dict[str, Any]]) -> str:
    """Work out the report by another way than the script's: exact decimals, and a look at the signs."""
    masses = [Decimal(str(record["mass_g"])) for record in records]
    mean = (sum(masses, Decimal()) / len(masses)).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    signs = [(record["latitude"] < 0, record["longitude"] < 0) for record in records]
    return (
        f"landings: {len(records)}\n"
        f"mean mass: {mean:,} g\n"
        f"Northern & Eastern: {signs.count((False, False))}\n"
        f"Northern & Western: {signs.count((False, True))}\n"
        f"Southern & Eastern: {signs.count((True, False))}\n"
        f"Southern & Western: {signs.count((True, True))}\n"
    )


def test_the_report_on_the_data_of_the_example(meteorites, capsys):
    assert meteorites.main([str(EXAMPLE / DATA)]) == 0
    assert capsys.readouterr().out == (
        "landings: 40\n"
        "mean mass: 81,893.6 g\n"
        "Northern & Eastern: 17\n"
        "Northern & Western: 11\n"
        "Southern & Eastern: 4\n"
        "Southern & Western: 8\n"
    )


def test_the_equator_is_northern_and_the_prime_meridian_eastern(meteorites, tmp_path, capsys):
    file = tmp_path / "one.json"
    file.write_text(json.dumps([GOOD | {"latitude": 0, "longitude": -0.0}]))
    assert meteorites.main([str(file)]) == 0
    assert "Northern & Eastern: 1\nNorthern & Western: 0\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("", "is not JSON: Expecting value: line 1 column 1 (char 0)", id="empty file"),
        pytest.param("[{]", "is not JSON: Expecting property name enclosed in double quotes", id="not JSON"),
        pytest.param("{}", "is not a list of landings", id="not a list"),
        pytest.param("[]", "holds no landings", id="empty list"),
        pytest.param(json.dumps([GOOD, 7]), "landing 2 is not an object", id="not an object"),
        pytest.param('[{"name": "Aachen", "year": 1880, "mass_g": 21}]', "landing 1 has no latitude and no longitude",
                     id="missing fields"),
        pytest.param(json.dumps([GOOD | {"mass_g": "21"}]), "landing 1: mass_g is '21', which is not a number from 0",
                     id="mass that is text"),
        pytest.param(json.dumps([GOOD | {"mass_g": True}]), "landing 1: mass_g is True", id="mass that is a truth"),
        pytest.param(json.dumps([GOOD | {"mass_g": -1}]), "landing 1: mass_g is -1", id="negative mass"),
        pytest.param(json.dumps([GOOD | {"latitude": 90.5}]), "landing 1: latitude is 90.5, which is not a number from -90 to 90",
                     id="beyond the pole"),
        pytest.param(json.dumps([GOOD | {"longitude": float("nan")}]), "landing 1: longitude is nan", id="NaN"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_1(meteorites, tmp_path, capsys, content, complaint):
    file = tmp_path / "bad.json"
    file.write_text(content)
    assert meteorites.main([str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"meteorites.py: {file}: {complaint}")
    assert err.count("\n") == 1


def test_a_missing_file_is_one_line_and_status_1(meteorites, capsys):
    assert meteorites.main(["/nonexistent/landings.json"]) == 1
    assert capsys.readouterr().err == "meteorites.py: /nonexistent/landings.json: No such file or directory\n"


def test_data_in_a_pipe():
    command = [str(EXAMPLE / "meteorites.py"), "-"]
    text = (EXAMPLE / DATA).read_bytes()
    assert subprocess.run(command, input=text, capture_output=True, check=True).stdout.startswith(b"landings: 40\n")
    bad = subprocess.run(command, input=b"[]", capture_output=True, check=False)
    assert (bad.returncode, bad.stderr) == (1, b"meteorites.py: standard input: holds no landings\n")


def test_the_walk_through_of_the_readme(engine, python_image, tmp_path, monkeypatch):
    root = tmp_path / "meteorites"
    shutil.copytree(EXAMPLE, root)
    data = root / DATA
    records = json.loads(data.read_text(encoding="utf-8"))
    monkeypatch.setenv("BASE", python_image)

    assert script("build-image", "base", directory=root).status == 0
    by_hand = script("run-image", "explore", "--", "./meteorites.py", DATA, directory=root)
    assert by_hand.out == expected(records)

    built = script("build-image", "meteorites", directory=root)
    assert built.status == 0, built.err
    assert engine.docker("run", "--rm", "meteorites:alice", "sh", "-c", "id -un; ls -A /data") == "astronomer\n"
    assert script("run-image", "meteorites", directory=root).out == expected(records)

    # Half of the landings: the figures follow the file that is mounted, and the image is the same one.
    data.write_text(json.dumps(records[::2]), encoding="utf-8")
    assert script("run-image", "meteorites", directory=root).out == expected(records[::2]) != expected(records)

    piped = script("run-image", "meteorites", "--", "meteorites.py", "-", directory=root, stdin=json.dumps(records[:5]))
    assert piped.out == expected(records[:5])

    (root / "data").chmod(0o777)
    refused = script("run-image", "meteorites", "--", "touch", "/data/new", directory=root)
    assert refused.err.splitlines()[-1] == "touch: cannot touch '/data/new': Read-only file system"

    data.unlink()
    missing = script("run-image", "meteorites", directory=root)
    assert missing.status == 1
    assert missing.err.splitlines()[-1] == "meteorites.py: /data/meteorites.json: No such file or directory"
