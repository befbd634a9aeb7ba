"""Whether the documentation fits the code: the rooms, files, names and papers in it."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from citations import anchors, citations

#: In architecture.md the tree of rooms stands between this line and the end of its block.
_TREE = re.compile(r"^```text title=\"The rooms\"\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What pages write in backticks and means a file or folder of the repository.
_PATH = re.compile(
    r"`((?:lightning_gw|tests|tasks|configs|docs|benchmarks)/[\w./-]*"
    r"|pyproject\.toml|constraints\.txt|mkdocs\.yml|\.ci/run|[A-Z]+\.(?:md|cff))`"
)
#: A dotted name of the package, in backticks or in an import.
_NAME = re.compile(r"(?:`|from |import )(lightning_gw(?:\.\w+)+)")

#: Whatever a browser fetches by itself from an address with a host. Links are followed by people only.
_FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source|video|object)\b[^>]*?(?:src|href|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
)


def rooms_in(markdown: str) -> list[str]:
    """The packages that a tree names, as paths: two spaces a level, each ending in a slash.

    Raises:
        ValueError: If there is no tree.
    """
    tree = _TREE.search(markdown)
    if tree is None:
        raise ValueError('There is no block ```text title="The rooms".')
    above: list[str] = []
    rooms = []
    for line in tree[1].splitlines():
        if match := re.match(r"( *)(\w+)/(?: |$)", line):
            above[len(match[1]) // 2 :] = [match[2]]
            rooms.append("/".join(above))
    return rooms


def wrong_rooms(page: Path, package: Path) -> Iterator[str]:
    """Packages that the tree on a page lacks, and those that do not exist."""
    named = rooms_in(page.read_text("utf-8"))
    there = {file.parent.relative_to(package.parent).as_posix() for file in package.rglob("__init__.py")}
    yield from (f"{page.name} does not name the room {room}/." for room in sorted(there - set(named)))
    yield from (f"{page.name} names {room}/, which does not exist." for room in named if room not in there)


def missing_paths(pages: Iterable[Path], root: Path) -> Iterator[str]:
    """Files and folders of the repository that pages name and that do not exist."""
    for page in pages:
        for path in dict.fromkeys(_PATH.findall(page.read_text("utf-8"))):
            if not (root / path).exists():
                yield f"{page.name} names {path}, which does not exist."


def missing_names(pages: Iterable[Path]) -> Iterator[str]:
    """Dotted names of the package that pages give in backticks or import, and that do not exist."""
    for page in pages:
        for name in dict.fromkeys(_NAME.findall(page.read_text("utf-8"))):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                yield f"{page.name} names {name}, which does not exist."


def unknown_citations(files: Iterable[Path], bibliography: Path) -> Iterator[str]:
    """Papers that files cite and the bibliography does not have."""
    known = anchors(bibliography)
    for file in files:
        for anchor, citation in citations(file.read_text("utf-8")).items():
            if anchor not in known:
                yield f"{file} cites {citation!r}, which {bibliography.name} does not have."


def fetched_from_elsewhere(html: str) -> list[str]:
    """The addresses on other servers that a page has a browser fetch."""
    return list(dict.fromkeys(_FETCHED.findall(html)))
