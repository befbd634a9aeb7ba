"""Finds misspelt options before the parser meets them, to name the file they stand in and the names they resemble.

jsonargparse refuses unknown options too, but names neither the file nor what would have been right.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lightning_gw.utilities.errors import UsageError, near_names, sentence
from lightning_gw.utilities.output import quoted
from lightning_gw.utilities.storage.files import read_text
from lightning_gw.utilities.storage.yaml_values import load_yaml

#: Keys beside ``init_args`` that describe an object in a config.
_OBJECT_KEYS = ("class_path", "init_args", "dict_kwargs")


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

    Raises:
        UsageError: If it is missing, is no YAML, or holds something else than a mapping.
    """
    try:
        there = file.is_file()
    except OSError as error:  # a name that no file can have
        raise UsageError(f"Config file {quoted(str(file))} cannot be read: {error.strerror}.") from error
    if not there:
        beside = [other.name for other in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        raise UsageError(sentence(f"Config file {file} does not exist.", near_names(file.name, beside, dotted=False)))
    try:
        content = load_yaml(read_text(file))
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} is no valid YAML: {' '.join(str(error).split())}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{file} should hold `option: value` lines, but holds a {type(content).__name__}.")
    return content


def check_options(known: Sequence[str], configs: Sequence[Path], overrides: Sequence[str]) -> None:
    """Check the names of all options in config files and on the command line.

    Args:
        known: Dotted names of the parser's options.
        configs: Config files, in the order in which they are laid over each other.
        overrides: Dotted names of options given on the command line.

    Raises:
        UsageError: For the first name that is no option, with the file it stands in and its near names.
    """
    classes: dict[str, str] = {}  # option → class path given so far, for files that give only some init_args
    for config in configs:
        for option, value in _options(read_yaml(config), known, str(config)):
            if isinstance(value, str) and option in ("model", "data"):
                value = {"class_path": value}
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Mapping) and {"class_path", "init_args"} & set(item):
                    _check_object(option, item, classes, str(config))
    for override in overrides:
        head = next((name for name in known if override == name or override.startswith(name + ".")), None)
        if head is None:
            groups = {name.split(".")[0] for name in known}
            if override not in groups:  # `--trainer=file.yaml` is allowed
                raise _unknown(override, known, "The command line")
        elif override != head and head in classes:
            parameter = override.removeprefix(head + ".").removeprefix("init_args.").split(".")[0]
            if parameter not in _OBJECT_KEYS:
                _check_parameters(head, classes[head], [parameter], "The command line")


def origin(option: str, configs: Sequence[Path]) -> str | None:
    """Name of the last of `configs` that sets `option`, or None where none does."""
    for config in reversed(configs):
        node: Any = read_yaml(config)
        for part in option.split("."):
            node = (
                next((node[key] for key in (part, part + "+") if key in node), None)
                if isinstance(node, Mapping)
                else None
            )
        if node is not None:
            return str(config)
    return None


def _options(content: Mapping[str, Any], known: Sequence[str], source: str) -> Iterator[tuple[str, Any]]:
    """Every (option, value) of a config, by walking down as long as its keys are groups of options."""

    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            name = prefix + str(key).removesuffix("+")
            if name in known:
                yield name, value
            elif any(option.startswith(name + ".") for option in known):
                if isinstance(value, Mapping):
                    yield from walk(value, name + ".")
            else:
                raise _unknown(name, known, source)

    return walk(content, "")


def _unknown(name: str, known: Sequence[str], source: str) -> UsageError:
    group = name.rpartition(".")[0]
    siblings = [option for option in known if option.startswith(group + ".")] if group else []
    top = sorted({option.split(".")[0] for option in known})
    hint = near_names(name, siblings) or near_names(name, top) or near_names(name, known)
    return UsageError(sentence(f"{source}: {name!r} is no option of `lightning-gw fit`.", hint))


def _check_object(option: str, item: Mapping[str, Any], classes: dict[str, str], source: str) -> None:
    path = item.get("class_path") or classes.get(option)
    if not isinstance(path, str):
        return
    classes[option] = path
    unexpected = [key for key in item if key not in _OBJECT_KEYS]
    if unexpected:
        raise UsageError(
            sentence(
                f"{source}: {unexpected[0]!r} cannot stand beside class_path {path} under {option!r};",
                f"parameters of the class go under init_args. {near_names(unexpected[0], _OBJECT_KEYS)}",
            )
        )
    parameters = item.get("init_args") or {}
    if isinstance(parameters, Mapping):
        _check_parameters(option, path, list(parameters), source)


def _check_parameters(option: str, path: str, parameters: Sequence[str], source: str) -> None:
    target = find_class(path, f"{source}: {option}")
    if target is None:
        return
    known = _parameters(target)
    for parameter in parameters:
        if known and str(parameter).removesuffix("+") not in known:
            raise UsageError(
                sentence(
                    f"{source}: {option}: {parameter!r} is no parameter of {path}.", near_names(str(parameter), known)
                )
            )


def _parameters(target: Callable[..., Any]) -> list[str]:
    """Names of the parameters jsonargparse accepts for a class or function, those behind ``**kwargs`` included."""
    prober = ArgumentParser(exit_on_error=False)
    if inspect.isclass(target):
        added = prober.add_class_arguments(target, "x", fail_untyped=False, instantiate=False)
    else:
        added = prober.add_function_arguments(target, "x", fail_untyped=False)
    return [name.removeprefix("x.") for name in added]


def find_class(path: str, where: str) -> Any:
    """The class at an importable path, or None for a short name, which only the parser can look up.

    Args:
        path: Such as ``package.module.Class``.
        where: What names the place in an error.

    Raises:
        UsageError: If the module or the class does not exist.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        return None
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not (module_name + ".").startswith(missing + "."):
            raise UsageError(f"{where}: importing {module_name} failed: no module named {missing!r}.") from error
        package = missing.rpartition(".")[0]
        siblings = [f"{package}.{found}" if package else found for found in _modules_beside(package)]
        raise UsageError(
            sentence(
                f"{where}: {path} cannot be imported: there is no module named {missing!r}.",
                near_names(missing, siblings),
            )
        ) from error
    target = getattr(module, name, None)
    if target is None:
        names = [key for key, value in vars(module).items() if inspect.isclass(value)] or dir(module)
        raise UsageError(sentence(f"{where}: {module_name} has no class {name!r}.", near_names(name, names)))
    return target


def _modules_beside(package: str) -> list[str]:
    if not package:
        return [module.name for module in pkgutil.iter_modules([str(Path.cwd())])]
    parent = importlib.import_module(package)
    return [module.name for module in pkgutil.iter_modules(getattr(parent, "__path__", []))]
