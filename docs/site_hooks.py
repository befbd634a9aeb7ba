"""What mkdocs does while it builds the site, besides rendering: checks that stop the build, tables, and citations.

The checks run before anything is rendered, with or without ``--strict``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = ROOT / "lightning_gw"
BIBLIOGRAPHY = DOCS / "bibliography.md"
sys.path[:0] = [str(DOCS), str(ROOT)]

from check_public_docstrings import documented, missing_docstrings  # noqa: E402
from citations import anchors, linked  # noqa: E402
from site_checks import fetched_from_elsewhere, missing_names, missing_paths, unknown_citations, wrong_rooms  # noqa: E402


def on_pre_build(config: Any) -> None:
    """Run all checks."""
    pages = sorted(DOCS.rglob("*.md"))
    problems = [
        *missing_docstrings(["lightning_gw", *documented()]),
        *wrong_rooms(DOCS / "architecture.md", PACKAGE),
        *missing_paths([*pages, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ROOT),
        # The glossary also has names that are gone.
        *missing_names(page for page in pages if page.name != "glossary.md"),
        *unknown_citations([*sorted(PACKAGE.rglob("*.py")), *pages], BIBLIOGRAPHY),
    ]
    if problems:
        raise PluginError("\n".join(["The documentation does not fit the code:", *problems]))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables that are made from the code, and have folded parts read as Markdown."""
    for mark, rows in (("<!-- public names -->", _public_names), ("<!-- measures -->", _measures)):
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(rows()))
    # What is folded away is Markdown too, which GitHub knows and Python-Markdown has to be told.
    return markdown.replace("<details>", '<details markdown="1">')


def on_page_content(html: str, page: Any, files: Any, **_: Any) -> str:
    """Link citations to the bibliography."""
    bibliography = files.get_file_from_path(BIBLIOGRAPHY.name)
    if page.file is bibliography:
        return html
    return linked(html, get_relative_url(bibliography.url, page.url), anchors(BIBLIOGRAPHY))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would ask another server for something when it is read."""
    if fetched := fetched_from_elsewhere(output):
        raise PluginError(f"{page.file.src_uri} fetches {', '.join(fetched)}.")
    return output


def _public_names() -> Iterator[str]:
    package = importlib.import_module("lightning_gw")
    yield "| name | what it is |"
    yield "|---|---|"
    for name in sorted(package.__all__, key=lambda name: (not name[0].isupper(), name.lower())):
        if name == "__version__":
            continue
        thing = getattr(package, name)
        says = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|").replace("``", "`")
        yield f"| [`{name}`][{thing.__module__}.{thing.__qualname__}] | {says} |"


def _measures() -> Iterator[str]:
    yield "| name | | range | inputs | does not see | from |"
    yield "|---|---|---|---|---|---|"
    for measure in importlib.import_module("lightning_gw.measures").MEASURES.values():
        least, largest = (f"{value:g}".replace("-", "−").replace("inf", "∞") for value in measure.range)
        inputs = "paired" if measure.paired else "matched"
        unseen = ", ".join(sorted(measure.invariances))
        yield (
            f"| `{measure.name}` | {measure.direction} | {least} to {largest} | {inputs} | {unseen} | "
            f"{measure.reference} |"
        )
