"""YAML read so that a few lines cannot unfold into more than the memory holds."""

from __future__ import annotations

from typing import Any

import yaml

#: Values that a file may stand for once its aliases are followed, each as often as it is named.
MOST_VALUES = 10**6


def load_yaml(text: str) -> Any:
    """What a document of plain YAML holds.

    Raises:
        ValueError: If it is none, refers to itself, is nested too deeply, or stands for too many values.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, TypeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error


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
    if total > MOST_VALUES:
        raise ValueError(f"its aliases unfold into more than {MOST_VALUES} values")
    counted[id(node)] = total
    return total
