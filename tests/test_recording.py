"""The picture in the README: a recording of a real session, drawn as an animation."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import record
from record import Event
from selenium.webdriver import Chrome

from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.testbed import images
from tests.testbed.browser import running as running_browser
from tests.testbed.engine import Engine
from tests.testbed.host import Host
from tests.testbed.relay import relaying

DOCS = Path(record.__file__).parent
TARGET = os.environ.get("RECORD", "")  # a directory for a new recording and its picture
RATE, DELAY = 1e9 / 8, 0.01  # of the link to the dock when it is recorded: 1 Gbit/s, and a round trip of 20 ms


@pytest.fixture
def here(host: Host, request: pytest.FixtureRequest) -> Engine:
    """Point docker at an engine with the image of Python: one with BuildKit to record, else the one that has it."""
    engine: Engine = request.getfixturevalue("modern_engine" if TARGET else "engine")
    images.add_python(engine)
    return engine


@pytest.fixture
def dock(host: Host) -> Iterator[str]:
    """Register a dock behind a link, and return its name."""
    with relaying(host.address, host.port, rate=RATE if TARGET else None, delay=DELAY if TARGET else 0) as link:
        inventory.register(Dock("gpu", link.address, "dock", link.address, link.address, link.port), os.environ["HOME"])
        yield "gpu"


def _screen(events: Sequence[Event]) -> list[str]:
    """Return the lines that the screen shows in the end."""
    screen = record.Screen()
    for event in events:
        screen.write(event.text)
    return ["".join(span.text for span in line) for line in screen.spans()]


def _arrivals(events: Sequence[Event]) -> list[tuple[int, int, float]]:
    """Return what has arrived, in order: layers that were sent, of how many, and the seconds that it took."""
    pattern = r"gpu: meteorites:alice has arrived: (\d+) of (\d+) layers, .* in (.*) s"
    found = [match for line in _screen(events) if (match := re.fullmatch(pattern, line))]
    return [(int(match[1]), int(match[2]), float(match[3])) for match in found]


def _typed(events: Sequence[Event]) -> list[str]:
    return [line.removeprefix("$ ") for line in _screen(events) if line.startswith("$ ")]


@pytest.fixture(scope="module")
def stored() -> list[Event]:
    return record.load((DOCS / record.CAST).read_text())


def test_the_session_can_be_recorded_again(dock, here, host, monkeypatch) -> None:
    """With RECORD=docs, this replaces the recording and the picture."""
    monkeypatch.setenv("BASE", images.PYTHON)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    try:
        events = record.record(dock, *([] if TARGET else [0.0, 0.0]))
    finally:
        host.engine.docker("image", "rm", "--force", "meteorites:alice")
        here.docker("image", "rm", "--force", "meteorites:alice", "meteorites-base:alice")
    if TARGET:
        Path(TARGET, record.CAST).write_text(record.dump(events))
        Path(TARGET, record.PICTURE).write_text(record.drawn(events))
    assert record.load(record.dump(events)) == events
    assert _typed(events) == [command.format(dock=dock) for command in record.COMMANDS] + [""]
    (first, layers, _), (second, total, _) = _arrivals(events)
    assert second < first <= layers == total  # other tests can have sent layers of Python before


def test_a_command_can_end_before_its_echo_is_read(tmp_path, monkeypatch) -> None:
    """Then the prompt comes in one piece with the echo."""
    terminal = record.Terminal(str(tmp_path))
    try:
        answers = iter(["t", "rue", "\r\n" + record._READY + record._PROMPT])
        monkeypatch.setattr(terminal._shell, "read_nonblocking", lambda *_, **__: next(answers))
        terminal.type("true", 0)
        terminal.wait()
    finally:
        terminal.close()


def test_the_stored_session_is_the_one_that_can_be_recorded(stored) -> None:
    assert _typed(stored) == [command.format(dock="gpu") for command in record.COMMANDS] + [""]
    [(first, layers, _), (second, _, seconds)] = _arrivals(stored)
    assert first == layers
    assert second < layers
    assert seconds <= 1
    assert stored[-1].time < 30


def test_the_picture_is_that_of_the_stored_session(stored) -> None:
    """After a change of the drawing, run docs/record.py."""
    picture = (DOCS / record.PICTURE).read_text()
    assert picture == record.drawn(stored)
    assert f"![{record.TITLE}](docs/session.svg)" in (DOCS.parent / "README.md").read_text()
    names = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(picture).iter()}
    assert names == {"svg", "title", "style", "rect", "circle", "text", "tspan"}  # no script, nothing from elsewhere


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with running_browser() as driver:
        driver.get((DOCS / record.PICTURE).as_uri())
        yield driver


def _prefer(browser: Chrome, **features: str) -> None:
    values = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": values})


_SEEK = "document.getAnimations().forEach(each => { each.pause(); each.currentTime = arguments[0] * 1000 })"
_VISIBLE = """return [...document.querySelectorAll("text")].filter(each => getComputedStyle(each).opacity == 1)
    .sort((one, other) => one.y.baseVal[0].value - other.y.baseVal[0].value).map(each => each.textContent)"""


def test_the_picture_shows_what_the_terminal_showed(browser, stored) -> None:
    _prefer(browser, reduced_motion="no-preference")
    shown = {}
    for tenths in range(0, round(10 * stored[-1].time) + 10, 4):
        browser.execute_script(_SEEK, tenths / 10)
        shown[tenths] = browser.execute_script(_VISIBLE)
        expected = _screen([event for event in stored if event.time < tenths / 10 - 0.1])
        later = _screen([event for event in stored if event.time < tenths / 10 + 0.1])
        if expected == later:
            assert shown[tenths] == list(filter(None, expected))
    assert len(set(map(tuple, shown.values()))) > 30
    _prefer(browser, reduced_motion="reduce")
    assert browser.execute_script("return document.getAnimations().length") == 0
    assert browser.execute_script(_VISIBLE) == list(filter(None, _screen(stored)))


_COLOUR = "return getComputedStyle(document.querySelector(arguments[0])).fill"


def _luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(...)`: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(each) / 255 for each in re.findall(r"\d+", colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_both_themes_can_be_read(browser) -> None:
    backs = []
    for theme in ("light", "dark"):
        _prefer(browser, color_scheme=theme)
        backs.append(_luminance(browser.execute_script(_COLOUR, ".frame")))
        for selector in ("text", ".typed", ".prompt", ".bold"):
            ink = _luminance(browser.execute_script(_COLOUR, selector))
            darker, lighter = sorted((backs[-1], ink))
            assert (lighter + 0.05) / (darker + 0.05) > 4.5  # the contrast that WCAG asks for
    light, dark = backs
    assert light > 0.9
    assert dark < 0.1


def test_a_terminal_redraws_its_lines() -> None:
    screen = record.Screen()
    screen.write("\x1b]1;x\x07one\r\n\x1b[1mtwo\x1b[0m\r\n\x1b[2F\x1b[JONE\r\n" + "x" * (record.COLUMNS + 2))
    assert list(screen.spans()) == [
        (record.Span("ONE", ""),),
        (record.Span("x" * record.COLUMNS, ""),),
        (record.Span("xx", ""),),
    ]
    with pytest.raises(ValueError, match="is not known here"):
        screen.write("\x1b[3A")
