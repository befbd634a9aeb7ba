"""Folders on disk as a comparison and a run leave them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import torch

from lightning_gw.interventions.skips import Control, GroupSkip, LayerSkip, SkipTest
from lightning_gw.records.history import History
from lightning_gw.records.representations import KeptRepresentations, keep_representations
from lightning_gw.utilities.storage.files import write_json

#: Names are data. These would take a page over that forgot it once.
HOSTILE_LAYER = "</script><script>window.taken = 1</script>"
HOSTILE_STRATEGY = "<img src=x onerror='window.taken = 2'>"


def save(records, folder: Path) -> Path:
    history = History.open(folder / "gw")
    for record in records:
        history.append(record)
        history.append_metrics(record.step, record.epoch, record.metrics)
    return folder


def keep(run: Path, seed: int, layers, probe: str = "one") -> None:
    """Representations of six inputs, as a run of a comparison leaves them."""
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(6, 3, generator=generator) for name in layers}
    keep_representations(run / "gw", KeptRepresentations(values, 40, probe))


def entry(strategy: str, seed: int, **changes) -> dict:
    return {
        "strategy": strategy,
        "task": "algebra",
        "seed": seed,
        "path": f"{strategy}/seed-{seed}",
        "status": "finished",
        "error": None,
        "question": f"What does {strategy} do?",
        "planted": [1, 5],
        "accuracy": "val/accuracy",
        "seconds": 12.5,
    } | changes


def write_comparison(folder: Path, entries: list[dict], title: str = "Strategies compared") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps({"schema": 1, "title": title, "runs": entries}))
    return folder


def skip_test(records, mode: str = "min", worst: int = 4) -> SkipTest:
    """A skip test of the layers of a run, whose first cannot be left out and whose groups have two random blocks."""
    last = records[-1]
    nan = float("nan")
    rows = [LayerSkip(last.layers[0], nan, nan, nan, nan, nan, reason="it turns int64 into float32")]
    for place, layer in enumerate(last.layers[1:], start=1):
        rise = (1.5 if place == worst else 0.1 * place) * (1 if mode == "min" else -1)
        rows.append(LayerSkip(layer, rise, 0.02, 0.5 * abs(rise), 0.1 * place, 0.01))
    blocks = (Control(last.layers[1:4], 0.4), Control(last.layers[5:8], 0.8))
    groups = (GroupSkip((2, 3, 4, 5), last.layers[3:6], 2.5, 0.1, "", blocks),)
    return SkipTest("val/loss", mode, 0.7, 48, tuple(rows), groups, last.groups.labels, last.groups.strength)


def keep_skips(found: SkipTest, folder: Path, step: int = 350) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "skip-test.json", {"step": step, **found.to_json()})


class Parsed(HTMLParser):
    """What a browser would make of a page: its elements, its scripts by id, and its text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id", "code") if tag == "script" else "style" if tag == "style" else None

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.text += data
        else:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data

    @property
    def data(self) -> dict:
        return json.loads(self.scripts["data"])
