"""What mkdocs does while it builds the site, besides rendering: checks that stop the build, tables, and citations.

Every check names all that it found. They run before anything is rendered, with or without ``--strict``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

from check_public_docstrings import documented, missing_docstrings  # noqa: E402
from citations import anchors, citations, linked  # noqa: E402

#: In architecture.md the tree of rooms stands between this line and the end of its block.
_TREE = re.compile(r"^```text title=\"The rooms\"\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What pages write in backticks and means a file or folder of the repository.
_PATH = re.compile(
    r"`((?:lightning_gw|tests|tasks|configs|docs|benchmarks)/[\w./-]*|[\w-]+\.(?:toml|cff)|(?:CHANGELOG|CONTRIBUTING)\.md)`"
)
_NAMES = "<!-- public names -->"


def on_pre_build(config: Any) -> None:
    """Run all checks."""
    problems = [*missing_docstrings(["lightning_gw", *documented()]), *_rooms(), *_paths(), *_citations()]
    if problems:
        raise PluginError("\n".join(["The documentation does not fit the code:", *problems]))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the table of public names in."""
    return markdown.replace(_NAMES, "\n".join(_public_names())) if _NAMES in markdown else markdown


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Link citations to the bibliography."""
    bibliography = files.get_file_from_path("bibliography.md")
    if page.file.src_uri == "bibliography.md" or bibliography is None:
        return html
    return linked(html, get_relative_url(bibliography.url, page.url), anchors(DOCS / "bibliography.md"))


def rooms_in(markdown: str) -> list[str]:
    """The packages that a tree names, as paths: two spaces a level, each ending in a slash.

    Raises:
        ValueError: If there is no tree.
    """
    tree = _TREE.search(markdown)
    if tree is None:
        raise ValueError("no tree of rooms")
    above: list[str] = []
    rooms = []
    for line in tree[1].splitlines():
        if match := re.match(r"( *)(\w+)/(?: |$)", line):
            above[len(match[1]) // 2 :] = [match[2]]
            rooms.append("/".join(above))
    return rooms


def _rooms() -> Iterator[str]:
    named = rooms_in((DOCS / "architecture.md").read_text("utf-8"))
    there = {str(file.parent.relative_to(ROOT)) for file in (ROOT / "lightning_gw").rglob("__init__.py")}
    yield from (f"docs/architecture.md does not name the room {room}/." for room in sorted(there - set(named)))
    yield from (f"docs/architecture.md names {room}/, which does not exist." for room in named if room not in there)


def _paths() -> Iterator[str]:
    for page in (*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for path in dict.fromkeys(_PATH.findall(page.read_text("utf-8"))):
            if not (ROOT / path).exists():
                yield f"{page.relative_to(ROOT)} names {path}, which does not exist."


def _citations() -> Iterator[str]:
    known = anchors(DOCS / "bibliography.md")
    for file in (*sorted((ROOT / "lightning_gw").rglob("*.py")), *sorted(DOCS.rglob("*.md"))):
        for anchor, citation in citations(file.read_text("utf-8")).items():
            if anchor not in known:
                yield f"{file.relative_to(ROOT)} cites {citation!r}, which is not in docs/bibliography.md."


def _public_names() -> Iterator[str]:
    package = importlib.import_module("lightning_gw")
    yield "| name | what it is |"
    yield "|---|---|"
    for name in sorted(package.__all__, key=lambda name: (not name[0].isupper(), name.lower())):
        thing = getattr(package, name)
        if name == "__version__":
            continue
        says = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|").replace("``", "`")
        yield f"| [`{name}`][{thing.__module__}.{thing.__qualname__}] | {says} |"
