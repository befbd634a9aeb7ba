"""YAML read so that a few lines cannot unfold into more than the memory holds, nor take longer than they are long."""

from __future__ import annotations

from typing import Any

import yaml

#: Values that a file may stand for once its aliases are followed, each as often as it is named.
MOST_VALUES = 10**6
#: How deep values may lie in each other. Time grows with the square of the depth, and the stack has an end.
DEEPEST = 100
#: Signs of a number; reading one takes time that grows with their square.
LONGEST_NUMBER = 4300

# What is written in C is ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSING = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def load_yaml(text: str) -> Any:
    """What a document of plain YAML holds.

    Raises:
        ValueError: If it is none, refers to itself, is nested too deeply, or stands for too many values.
    """
    try:
        _require_shallow(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _require_shallow(text: str) -> None:
    """Read a document event by event, which needs no stack, and no further than it is too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        if depth > DEEPEST:
            raise ValueError(f"it is nested too deeply, more than {DEEPEST} levels")


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many values a node stands for."""
    if id(node) in counted:
        if not counted[id(node)]:  # it is being counted
            raise ValueError("it refers to itself")
        return counted[id(node)]
    counted[id(node)] = 0
    total = 1
    if isinstance(node, yaml.CollectionNode):
        inner = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        total += sum(_count(part, counted) for part in inner)
    elif node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(node.value)} signs")
    if total > MOST_VALUES:
        raise ValueError(f"its aliases unfold into more than {MOST_VALUES} values")
    counted[id(node)] = total
    return total
