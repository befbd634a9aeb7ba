"""What was found, as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry import Configuration

HEAD = """# Compatibility

*Written by `make test-foreign`; do not edit. `examples/foreign/` holds what is trained.*

Public projects, installed by name from the package registry and trained with Lightning for two epochs of three steps on
made-up data, on the CPU, without the callback and with `GWSimilarity()` as it comes: same seed, each configuration a
process of its own. *Equal* says that every weight, every buffer and every random state is the same to the bit after
training. *Cost* is the seconds that looks held training up, beside the seconds of training without; so short a training
consists of little else, of a longer one a budget allows a share ([what it may cost](attaching.md#what-it-may-cost)).
Seconds depend on the machine and on what else it does: compare them within a row only.
"""


def document(every: Sequence[Configuration], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole text of ``docs/compatibility.md``."""
    tried = [(one, results[one.key]) for one in every if one.key in results]
    able = [(one, result) for one, result in tried if "broken" not in result]
    looked = [one for one, result in able if result.get("looks")]
    with_remedy = [one for one, result in able if result.get("with_remedy", {}).get("looks")]
    equal = [one for one, result in able if _equal(result) == "yes"]
    projects = {one.project for one, _ in able}
    lines = [HEAD]
    lines.append(
        f"{len(able)} configurations of {len(projects)} projects: {len(looked)} looked at without an argument, "
        f"{len(with_remedy)} more with one, {len(equal)} of {len(able)} trained as without the callback.\n"
    )
    lines.append("| project | what | layers | how | looks | cost (training) | equal | argument needed |")
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [_row(one, result) for one, result in able]
    lines += _refusals(able)
    broken = [(one, result) for one, result in tried if "broken" in result]
    if broken:
        lines.append("\n## Not trained here\n\nWithout the callback already:\n")
        lines += [f"- {one.key}: {_cell(result['broken'])}" for one, result in broken]
    lacking = list(
        dict.fromkeys(one.project for one in every if one.project not in {other.project for other, _ in tried})
    )
    if lacking:
        lines.append(f"\n## Not tried yet\n\nThere are configurations, but no results: {', '.join(lacking)}.")
    return "\n".join(lines) + "\n"


def _row(one: Configuration, result: Mapping[str, Any]) -> str:
    shown = result if result.get("looks") else result.get("with_remedy", result)
    named = ", ".join(f"`{name}={value!r}`" for name, value in shown.get("argument", {}).items())
    needed = "none" if result.get("looks") else named or "see below"
    # A project that trains with a copy of the callback leaves its seconds with the copy.
    cost = f"{shown['spent']:.1f} s ({result['plain']:.1f} s)" if shown.get("spent") else "–"
    cells = [
        f"{one.project} {result.get('version', '')}",
        one.name,
        _layers(shown.get("layers", [])),
        _how(shown.get("probe", {})),
        str(shown.get("looks", 0)),
        cost,
        _equal(result),
        needed,
    ]
    return f"| {' | '.join(map(_cell, cells))} |"


def _layers(layers: Sequence[str]) -> str:
    if not layers:
        return "–"
    return f"{len(layers)}: `{layers[0]}` … `{layers[-1]}`"


def _how(probe: Mapping[str, Any]) -> str:
    if not probe:
        return "–"
    return f"{probe.get('through', 'forward')}, {probe.get('size')} of {probe.get('source')}"


def _equal(result: Mapping[str, Any]) -> str:
    if "error" in result:
        return "**ended**"
    if result.get("different"):
        return f"**no**: {len(result['different'])} values"
    return "yes" if not result.get("unrepeatable") else "as far as it repeats itself"


def _refusals(able: Sequence[tuple[Configuration, Mapping[str, Any]]]) -> list[str]:
    refused = [(one, result) for one, result in able if not result.get("looks")]
    if not refused:
        return []
    lines = ["\n## Where it could not look by itself\n", "What was said, and whether what it names works:\n"]
    for one, result in refused:
        said = result.get("error") or " ".join(result.get("messages", [])) or "nothing"
        again = result.get("with_remedy")
        works = "" if again is None else " It does." if again.get("looks") else " It does NOT."
        lines.append(f"- **{one.key}**: {_cell(said)}{works}")
    return lines


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
