"""YAML that every reader takes alike."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Quotes what some readers take for a number: PyYAML leaves ``55e10000`` bare, and to Lightning it is infinite."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def yaml_text(content: Any) -> str:
    """Plain values as YAML, keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)
