"""The site of the documentation: it builds without a warning, shows what the pages have, and needs no other host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md"), ROOT / "benchmarks/README.md"]


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", root / "mkdocs.yml", "--site-dir", site],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


class _Page(HTMLParser):
    """What a page of the site loads, links to and contains."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[str] = []
        self.code = self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.tags.append(tag)
        self._open += [tag] if tag in {"pre", "code", "script", "style"} else []
        self.anchors |= {values["id"]} if "id" in values else set()
        here = [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        href = [values["href"]] if "href" in values else []
        self.loaded += here + (href if tag in {"link", "use", "image"} else [])
        self.links += href if tag == "a" else []

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if "pre" in self._open or "code" in self._open:
            self.code += data
        elif not self._open:
            self.text += data


def _place(page: Path) -> str:
    """Return where a page is in the site."""
    there = page.relative_to(ROOT).with_suffix("")
    return str(there.parent / "index.html" if there.name == "README" else there / "index.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("site")
    built = _build(ROOT, there)
    assert built.returncode == 0, built.stderr
    return there


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, _Page]:
    return {str(path.relative_to(site)): _Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_the_site_has_all_pages(pages) -> None:
    assert set(pages) == {_place(page) for page in PAGES}


def test_links_of_the_site_lead_somewhere(site, pages) -> None:
    count = 0
    for name, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or link in {".", ".."}:
                continue
            there = (site / name).parent / unquote(parts.path) if parts.path else site / name
            there = (there / "index.html" if there.is_dir() else there).resolve()
            assert there.exists(), f"{name}: {link}"
            if parts.fragment:
                assert parts.fragment in pages[str(there.relative_to(site))].anchors, f"{name}: {link}"
            count += 1
    assert count > 500


def test_the_site_loads_nothing_from_another_host(site, pages) -> None:
    for name, page in pages.items():
        assert [link for link in page.loaded if urlsplit(link).netloc] == [], name
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in [*sheets, *site.rglob("*.svg")]:
        assert re.findall(r"@import|url\(['\"]?(?:https?:)?//[^)]*", sheet.read_text()) == [], sheet.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_of_the_site_shows_blocks_tables_and_lists(page, pages) -> None:
    """Python-Markdown differs from forges: it wants four spaces in lists, and an empty line before them."""
    shown = pages[_place(page)]
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert shown.tags.count("pre") == page.read_text().count("```") // 2
    assert shown.tags.count("table") == len(re.findall(r"^ *\|(?: *:?-+:? *\|)+$", text, re.MULTILINE))
    assert re.findall(r"(?m)^ *(?:- |\d\. |\|).*|```|\*\*", shown.text) == []
    assert "\\|" not in shown.code


def test_a_mistake_stops_the_build(tmp_path) -> None:
    for name in ("mkdocs.yml", "docs", "examples", "benchmarks", *(page.name for page in ROOT.glob("*.md"))):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs/forgotten.md").write_text(
        "# Forgotten\n\n[no page](none.md), [none](images.md#none), [raw](/x)\n"
    )
    built = _build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    for warning in (
        'not included in the "nav" configuration:\n  - docs/forgotten.md',
        "contains a link 'none.md', but the target 'docs/none.md' is not found",
        "contains a link 'images.md#none', but the doc 'docs/images.md' does not contain an anchor '#none'",
        "contains an absolute link '/x'",
    ):
        assert warning in built.stderr
