"""What MkDocs calls while it builds the site: add the pages of the repository that are outside of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

_ROOT = Path(__file__).parent.parent
# Pages, and the pictures on them. A link to another file fails the build.
_PATTERNS = ("*.md", "docs/*.md", "docs/*.svg", "docs/*.png", "examples/*/README.md", "benchmarks/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the site under their paths in the repository, so that links between them need no change."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    found = sorted(path.relative_to(_ROOT) for pattern in _PATTERNS for path in _ROOT.glob(pattern))
    ours = [File(str(path), str(_ROOT), config.site_dir, config.use_directory_urls) for path in found]
    return Files([*theme, *ours])


def on_page_content(html: str, **_rest: object) -> str:
    """Return a page with `|` in the code of tables, where Markdown needs a backslash that Python-Markdown shows."""
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)
