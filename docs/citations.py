"""Finds citations such as ``Mémoli 2011`` or ``Song et al. (2012)``, and links them to docs/bibliography.md."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

_NAME = r"[A-ZÀ-Ž][\w'’-]+"
#: No capitals within: conferences have years too.
_FIRST = r"[A-ZÀ-Ž][a-zß-ž'’-]+"
#: One to four names, the first of which is looked up, and a year, in parentheses or not.
_CITATION = re.compile(
    rf"\b(?P<first>{_FIRST})(?:,? et\s+al\.|(?:,\s+{_NAME})*\s+and\s+{_NAME})?"
    r"(?:\s+test)?\s+\(?(?P<year>(?:19|20)\d\d)\b"
)
_ANCHOR = re.compile(r'<span id="([a-z]+-\d{4})">')
#: Text that is no prose (code, headings) or has a link already; and any other tag.
_UNTOUCHED = re.compile(r"(<(?P<tag>a|code|pre|h[1-6]|script|style)\b.*?</(?P=tag)>|<[^>]*>)", re.DOTALL)


def anchors(bibliography: Path) -> set[str]:
    """The anchors of a bibliography: first author without accents, a dash, and the year."""
    return set(_ANCHOR.findall(bibliography.read_text("utf-8")))


def citations(text: str) -> dict[str, str]:
    """Anchor to citation, of all that a text cites."""
    return {_anchor(match): " ".join(match[0].split()) for match in _CITATION.finditer(text)}


def linked(html: str, address: str, known: set[str]) -> str:
    """The same HTML with every known citation in its prose made a link.

    Args:
        html: Of a page.
        address: Of the bibliography, from that page.
        known: Anchors there.
    """

    def link(match: re.Match[str]) -> str:
        anchor = _anchor(match)
        return f'<a class="citation" href="{address}#{anchor}">{match[0]}</a>' if anchor in known else match[0]

    parts, place = [], 0
    for kept in _UNTOUCHED.finditer(html):
        parts += [_CITATION.sub(link, html[place : kept.start()]), kept[0]]
        place = kept.end()
    return "".join([*parts, _CITATION.sub(link, html[place:])])


def _anchor(match: re.Match[str]) -> str:
    plain = unicodedata.normalize("NFKD", match["first"]).encode("ascii", "ignore").decode()
    return f"{plain.lower()}-{match['year']}"
