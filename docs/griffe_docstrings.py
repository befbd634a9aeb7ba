"""Lets the API reference read docstrings as they are written here: ``#:`` comments, and examples under ``Example:``."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Two habits of this library that Griffe's Google style leaves alone."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Have the lines of an ``Example:`` shown as code, as those of ``Examples:`` are."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, agent: griffe.Visitor | Any, **_: Any) -> None:
        """Take the ``#:`` comment above a constant that has no docstring."""
        if attr.docstring is not None or attr.lineno is None or not isinstance(agent, griffe.Visitor):
            return
        lines = agent.code.splitlines()
        first = attr.lineno - 1
        while first > 0 and lines[first - 1].lstrip().startswith("#:"):
            first -= 1
        if comment := [line.lstrip().removeprefix("#:").strip() for line in lines[first : attr.lineno - 1]]:
            attr.docstring = griffe.Docstring("\n".join(comment), parent=attr, lineno=first + 1)
