"""Names every public name that has no docstring: ``python docs/check_public_docstrings.py``.

Public are the names in ``lightning_gw.__all__``, those in the ``__all__`` of every package that a page of ``docs/api``
documents, whatever else such a page documents by name, and the public methods and properties of all these classes. A
constant is described by a ``#:`` comment above it, a field of a dataclass under ``Attributes:`` of its class.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

API = Path(__file__).parent / "api"
_DIRECTIVE = re.compile(r"^::: *([\w.]+)", re.MULTILINE)


def documented(folder: Path = API) -> list[str]:
    """The dotted names that pages ask mkdocstrings for, in the order of pages."""
    return [name for page in sorted(folder.glob("*.md")) for name in _DIRECTIVE.findall(page.read_text("utf-8"))]


def missing_docstrings(names: Iterable[str]) -> list[str]:
    """What lacks a docstring, one sentence each.

    Args:
        names: Dotted names of packages, whose ``__all__`` is walked, or of single functions, classes and constants.

    Raises:
        ImportError: If a package cannot be imported.
        AttributeError: If a name does not exist.
    """
    found: dict[str, None] = {}
    for name in names:
        thing, home = _load(name)
        if isinstance(thing, ModuleType):
            if not inspect.getdoc(thing):
                found[f"{name} has no docstring."] = None
            for public in getattr(thing, "__all__", ()):
                found |= dict.fromkeys(_lacking(f"{name}.{public}", getattr(thing, public), thing))
        else:
            found |= dict.fromkeys(_lacking(name, thing, home))
    return list(found)


def _load(name: str) -> tuple[Any, ModuleType]:
    """The thing of that dotted name, and the module that was asked for it."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name and not name.startswith(f"{error.name}."):
            raise
    else:
        return module, module
    parent, _, last = name.rpartition(".")
    home = importlib.import_module(parent)
    return getattr(home, last), home


def _lacking(name: str, thing: Any, asked: ModuleType) -> Iterator[str]:
    if name.endswith("__version__"):
        return
    if inspect.isclass(thing):
        yield from _class_lacking(name, thing)
    elif inspect.isroutine(thing):
        if not inspect.getdoc(thing):
            yield f"The function {name} has no docstring."
    elif not _is_commented(name.rpartition(".")[2], asked):
        yield f"The constant {name} has no #: comment above it."


def _class_lacking(name: str, cls: type) -> Iterator[str]:
    text = cls.__dict__.get("__doc__") or ""
    # A dataclass without a docstring is given one that repeats its signature.
    if not text or text.startswith(f"{cls.__name__}("):
        yield f"The class {name} has no docstring."
    for base in cls.__mro__:
        if not base.__module__.startswith("lightning_gw"):
            continue
        for member, value in vars(base).items():
            is_call = inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod)
            is_call = is_call or type(value).__name__ == "cached_property"
            # One that takes another's place takes its docstring too; those of Lightning's hooks are Lightning's.
            if is_call and not member.startswith("_") and not inspect.getdoc(getattr(base, member)):
                yield f"The method {name}.{member} has no docstring."
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if not field.name.startswith("_") and not re.search(rf"^ +{field.name}\b.*:", _all_docs(cls), re.MULTILINE):
                yield f"The field {name}.{field.name} is not among the attributes in its class's docstring."


def _all_docs(cls: type) -> str:
    return "\n".join(base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("lightning_gw"))


def _is_commented(name: str, module: ModuleType) -> bool:
    """Whether a ``#:`` comment stands above where the constant is made, in this module or that it is imported from."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.lineno > 1 and lines[node.lineno - 2].startswith("#:")
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return _is_commented(name, importlib.import_module(node.module))
    return False


def main() -> int:
    """Print what is missing; 1 if anything is."""
    missing = missing_docstrings(["lightning_gw", *documented()])
    print("\n".join(missing) or "Every public name has a docstring.")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
