"""Sections as commands read them: typed, filled in, docked; and their faults."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import UserError
from dockerutils.project import config, ini
from dockerutils.project.config import KEYS, Config, Settings

FIELDS = {"user": lambda: "ann"}


def _config(text: str) -> Config:
    return Config(ini.parse(text, "f"))


def _settings(text: str, *, docked: bool = False, **environ: str) -> Settings:
    return Settings(_config(f"[s]\n{text}").section("s"), FIELDS, environ, docked=docked)


def test_defaults() -> None:
    settings = _settings("")
    assert settings.boolean("prefix") is True
    assert settings.boolean("keep_container") is False
    assert settings.options("init") == ["--init"]
    assert settings.options("volumes") == []
    assert settings.command("cmd") == []
    assert settings.word("network") == ""
    assert settings.text("image_repo") == "docker_hub"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("volumes = -v a:b\n  -v c:d", ["-v", "a:b", "-v", "c:d"], id="continued"),
        pytest.param("volumes = -v '{user} x':/y", ["-v", "ann x:/y"], id="filled in after it is split"),
        pytest.param("volumes = -v $D:/y", ["-v", "a b:/y"], id="a value with a space stays one word"),
        pytest.param("volumes =", [], id="empty"),
        pytest.param("volumes: -v 100%:/y", ["-v", "100%:/y"], id="colon and percent"),
    ],
)
def test_options(text: str, words: list[str]) -> None:
    assert _settings(text, D="a b").options("volumes") == words


def test_an_empty_init_means_no_options() -> None:
    assert _settings("init =").options("init") == []


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", []),
        ("publication_tag =", []),
        ('publication_tag = "', []),
        ("publication_tag = a:{tag}", ["a:1"]),
        ('publication_tag = a:{tag}"', ["a:1"]),
        ('publication_tag = "a:1" b:$B', ["a:1", "b:x y"]),
        ("publication_tag = a:1\n  b:{user}", ["a:1", "b:ann"]),
    ],
)
def test_tags(text: str, tags: list[str]) -> None:
    assert _settings(text, B="x y").tags("publication_tag", {"tag": lambda: "1"}) == tags


@pytest.mark.parametrize(
    ("text", "found"),
    [("", ()), ("platform =", ()), ("platform = linux/amd64", ("linux/amd64",)), ("platform = $P", ("a/b", "a/c"))],
)
def test_platforms(text: str, found: tuple[str, ...]) -> None:
    settings = _settings(text, P="a/b, a/c")
    assert settings.platforms("platform") == found
    assert settings.read(next(each for each in KEYS if each.name == "platform")) == ",".join(found)


def test_cmd_is_verbatim() -> None:
    assert _settings("cmd = sh -c 'echo $HOME {user}' $X").command("cmd") == ["sh", "-c", "echo $HOME {user}", "$X"]


def test_docked_keys_win_while_docked() -> None:
    text = "ports = -p 1:1\nports_docked = -p 2:2\nvolumes = -v a:b"
    assert _settings(text).options("ports") == ["-p", "1:1"]
    assert _settings(text, docked=True).options("ports") == ["-p", "2:2"]
    assert _settings(text, docked=True).options("volumes") == ["-v", "a:b"]


@pytest.mark.parametrize("text", ["True", "true", "T", "yes", "Y", "on", "1"])
def test_true(text: str) -> None:
    assert _settings(f"keep_container = {text}").boolean("keep_container") is True


@pytest.mark.parametrize("text", ["False", "false", "F", "no", "N", "off", "0"])
def test_false(text: str) -> None:
    assert _settings(f"prefix = {text}").boolean("prefix") is False


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("prefix = maybe", "prefix", "f:2: [s] prefix: 'maybe' is neither true nor false; write True or False"),
        ("volumes = -v $NO:/x", "volumes", "f:2: [s] volumes: $NO is not set; export it, or write $$ for a dollar sign"),
        ("volumes = -v {no}:/x", "volumes", "f:2: [s] volumes: {no} is unknown; known here: {user}"),
        ("args = --x 'a", "args", "f:2: [s] args: no closing quotation; close the quote or escape it with a backslash"),
        ("cmd = sh -c \"a", "cmd", "f:2: [s] cmd: no closing quotation; close the quote or escape it with a backslash"),
        ("environment = A=1", "environment", "f:2: [s] environment: A=1 is not a docker option; write -e A=1"),
        ("environment = -e A=1 -e", "environment", "f:2: [s] environment: -e has no value; write one after it"),
        ("network = a\0", "network", "f:2: [s] network: NUL characters are not possible in a command line; remove them"),
        ("cmd = a\0", "cmd", "f:2: [s] cmd: NUL characters are not possible in a command line; remove them"),
        ("platform = amd64, linux/arm64", "platform", "f:2: [s] platform: 'amd64' is not a platform; write it as linux/amd64"),
        ("args = -a\0", "args", "f:2: [s] args: NUL characters are not possible in a command line; remove them"),
    ],
)  # fmt: skip
def test_errors_have_a_place(text: str, key: str, message: str) -> None:
    settings = _settings(text)
    with pytest.raises(UserError) as error:
        settings.read(next(each for each in KEYS if each.name == key))
    assert str(error.value) == message


def test_a_refused_option_does_not_show_a_secret() -> None:
    with pytest.raises(UserError, match=r'"A=\$TOKEN" is not a docker option'):
        _settings("environment = A=$TOKEN", TOKEN="t0ken").options("environment")


def test_a_fault_stops_only_who_reads_the_section() -> None:
    read = _config("[good]\nname = x\n[bad]\nword\n")
    assert read.section("good")["name"].text == "x"
    with pytest.raises(UserError, match=r"^f:4: \[bad\] this line is not a key; write it as key = value$"):
        read.section("bad")


def test_a_fault_outside_of_sections_stops_all() -> None:
    with pytest.raises(UserError, match=r"^f:1: this line is before the first section"):
        _config("word\n[good]\n").section("good")


def test_a_warning_about_an_unknown_key_suggests_the_nearest() -> None:
    warnings = _config("[s]\nvolums = x\nport_docked = x\nzzz = x\nvolumes_docked = -v a:b\nname = x\n").unknown_keys(
        "s"
    )
    assert list(warnings) == [
        "f:2: [s] volums: unknown key; did you mean volumes?",
        "f:3: [s] port_docked: unknown key; did you mean ports_docked?",
        "f:4: [s] zzz: unknown key; it is ignored",
    ]


def test_run_cfg_is_read_without_dockerutils_cfg(tmp_path) -> None:
    (tmp_path / "docker").mkdir()
    assert list(config.read(str(tmp_path))) == []
    (tmp_path / "docker" / "run.cfg").write_text("[old]\n")
    assert list(config.read(str(tmp_path))) == ["old"]
    (tmp_path / "docker" / "dockerutils.cfg").write_text("[new]\n")
    assert list(config.read(str(tmp_path))) == ["new"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-v ~/a:/a", ["-v", "/home/ann/a:/a"]),
        ("-v ~:/a", ["-v", "/home/ann:/a"]),
        ("-v~/a:/a -v=~/b:/b", ["-v/home/ann/a:/a", "-v=/home/ann/b:/b"]),
        ("--volume ~/a:/a --volume=~/b:/b", ["--volume", "/home/ann/a:/a", "--volume=/home/ann/b:/b"]),
        ("--mount type=bind,source=~/a,target=/a", ["--mount", "type=bind,source=/home/ann/a,target=/a"]),
        ("--mount=src=~,dst=/a", ["--mount=src=/home/ann,dst=/a"]),
        ("-v /a:~/b -v ~bob/x:/x", ["-v", "/a:~/b", "-v", "~bob/x:/x"]),
        ("--label ~/a:/a", ["--label", "~/a:/a"]),
    ],
)
def test_the_home_directory_on_the_host_side_of_a_mount(text: str, words: list[str]) -> None:
    config = _config(f"[s]\nvolumes = {text}\nargs = {text}\ngpu = {text}\n")
    settings = Settings(config.section("s"), {"home": lambda: "/home/ann"}, {}, docked=False)
    assert settings.options("volumes") == settings.options("args") == words
    assert settings.options("gpu") == text.split()
