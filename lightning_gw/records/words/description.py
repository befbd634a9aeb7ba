"""A run's answer in words: did groups form, where, when, and how far it can be believed.

Everything is made from the records. A claim comes with its strength, and what was not computed is said to be missing.
Layers are counted from 1 here, as people count; the records count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lightning_gw.groups.groups import Groups, layer_ranges
from lightning_gw.groups.sequences import sequence_parts
from lightning_gw.groups.strength import why_weak
from lightning_gw.records.record import Record
from lightning_gw.records.words.support import (
    own_steps_phrase,
    p_value_phrase,
    paired_view_phrase,
    stability_phrase,
)
from lightning_gw.utilities.text import listed, number_word, numbered, plural, short_names

#: From this factor on, growth of an adjacent distance is worth a sentence; below it, looks differ by as much anyway.
NOTABLE_GROWTH = 1.1
#: Steps from one look to the next are worth a word where they grow by more than this; log-spaced ones double.
UNSEEN = 2.5


def describe(history: Sequence[Record] | Record) -> str:
    """A run's answer in words.

    Args:
        history: Every look of one run, in the order of training; or one look by itself.

    Returns:
        One paragraph: the groups at the last look with their strength and what supports it, since when they have stood,
        how the boundaries last moved, which adjacent distance grew most, which layers alone were trained, and which
        were left out.

    Example:
        >>> import tempfile, torch
        >>> from pytorch_lightning import Trainer
        >>> from pytorch_lightning.demos.boring_classes import BoringModel
        >>> from lightning_gw import GWSimilarity, describe
        >>> _ = torch.manual_seed(0)
        >>> model = BoringModel()
        >>> model.layer = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(3)), torch.nn.Linear(32, 2))
        >>> folder = tempfile.TemporaryDirectory()
        >>> watching = GWSimilarity(save_dir=folder.name, probe_size=16, verbose=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> Trainer(max_steps=4, callbacks=[watching], default_root_dir=folder.name, **quiet).fit(model)
        >>> describe(watching.history).split(",")[0]  # the first words of a paragraph
        'No groups: by step 4 the four layers drift smoothly'
        >>> folder.cleanup()
    """
    history = [history] if isinstance(history, Record) else history
    if not history:
        return "Nothing was recorded: the run holds no look yet."
    last = history[-1]
    sentences = [describe_groups(last, "By")]
    if last.groups.strength == "none":
        sentences += _earlier_groups(history)
    else:
        sentences += _standing(history)
        sentences += inherited_sentences([history])
        sentences += _readout_warning(last.groups)
    sentences += changed_sentences(last, history[0].step)
    sentences += growth_sentences(last, history[0].step)
    sentences += weights_sentences(last, history[0].step)
    sentences += dominance_sentences(last)
    sentences += degenerate_sentences(last)
    return " ".join(sentences)


def describe_record(record: Record) -> str:
    """One look in words: its groups with their strength and support, and which layers were left out."""
    return " ".join([describe_groups(record, "At"), *dominance_sentences(record), *degenerate_sentences(record)])


def describe_groups(record: Record, preposition: str = "At") -> str:
    """The groups of one look, how strongly they stand out, and what the paired view and the statistics say.

    Args:
        record: The look.
        preposition: ``"At"`` for one look among many, ``"By"`` for the end of a run.
    """
    groups = record.groups
    when = f"{preposition} step {record.step}"
    if not np.isfinite(groups.adjacent).any():
        if len(groups.sequence_ends) == len(groups.adjacent) > 0:
            many = plural(len(groups.labels), "layer")
            return f"{when} none of the {many} follows another, so there is nothing to part."
        return f"{when} no two neighbouring layers could be compared, so whether there are groups cannot be said."
    if record.before_training:
        return f"Before training (step {record.step}) {own_steps_phrase(groups)}."
    if groups.strength == "none":
        beyond = " beyond what the architecture does by itself" if groups.reference else ""
        smoothly = "" if groups.built_in else f" the {_layers_of(groups)} drift smoothly, and"
        found = f"No groups: {when[0].lower()}{when[1:]}{smoothly} no boundary stands out{beyond}"
        return f"{found}. {_support(paired_view_phrase(record), p_value_phrase(record))}"
    reason = f": {why}" if (why := why_weak(groups)) else ""
    doubt = f", which may be drift{reason}" if groups.strength == "weak" else ""
    if not groups.reference:
        lacking = record.reference.removeprefix("none: ") or "they were held against no network that learnt nothing"
        doubt = f", which the architecture may have by itself, since {lacking}"
    told = groups.ranges(short_names(record.layers)).replace(" | ", ", ")
    found = f"{when} the {_layers_of(groups)} form {plural(groups.count, f'{groups.strength} group')}: {told}{doubt}"
    return f"{found}. {_support(paired_view_phrase(record), p_value_phrase(record), stability_phrase(groups))}"


def _support(*phrases: str) -> str:
    """Phrases as a sentence."""
    told = "; ".join(phrases)
    return f"{told[0].upper()}{told[1:]}."


def _layers_of(groups: Groups) -> str:
    """The layers, and of which sequences they are, where they are of several."""
    count = len(groups.labels)
    if not groups.sequence_ends:
        return plural(count, "layer")
    parts = sequence_parts(count, groups.sequence_ends)
    ranges = listed([layer_ranges(range(part.start, part.stop)) for part in parts])
    return f"{plural(count, 'layer')} of {plural(len(parts), 'sequence')} ({ranges})"


def changed_sentences(record: Record, start: int) -> list[str]:
    """What this training changed since its start, where that is another question than which groups there are."""
    if record.changed is None or not record.reference or record.reference.startswith("its own first look"):
        return []
    made = record.changed
    if made.strength == "none":
        return [f"This training made no boundary since step {start}."]
    return [
        f"Since step {start} this training parted {made.ranges().replace(' | ', ', ')} ({made.strength}): those are "
        "the steps that grew beyond the others."
    ]


def dominance_sentences(record: Record) -> list[str]:
    """Whether the groups hang on a few inputs far from all others."""
    if record.dominance is None or record.without_dominant is None or not record.groups.boundaries:
        return []
    lost = sorted(set(record.groups.boundaries) - set(record.without_dominant))
    if not lost:
        return []
    share = f"which carry up to {float(np.nanmax(record.dominance)):.0%} of a layer's squared distance"
    where = "no boundary is found"
    if len(lost) < len(record.groups.boundaries):
        after = listed([str(k + 1) for k in lost])
        one = len(lost) == 1
        where = f"no boundary is found after layer {after}" if one else f"none are found after layers {after}"
    return [f"Without the 5 % most distant inputs, {share}, {where}."]


def growth_sentences(record: Record, start: int) -> list[str]:
    """Which adjacent distance grew most since the first look, where any grew notably."""
    growth = np.asarray(record.growth, dtype=float)
    usable = np.where(np.isfinite(growth), growth, -np.inf)
    if record.step == start or not usable.size or usable.max() < NOTABLE_GROWTH:
        return []
    widest = int(usable.argmax())
    names = short_names(record.layers)
    return [
        f"Since step {start} the distance found between layers {numbered(widest, names)} and "
        f"{numbered(widest + 1, names)} grew most, to {growth[widest]:.2g} times what it was."
    ]


def weights_sentences(record: Record, start: int) -> list[str]:
    """Which layers training changed, where it left others as they were."""
    if record.weights is None or record.step == start or "same" not in record.weights:
        return []
    trained = [layer for layer, fate in enumerate(record.weights) if fate == "changed"]
    if not trained:
        return [f"No layer's weights changed since step {start}."]
    layers = "layer" if len(trained) == 1 else "layers"
    where = layer_ranges(trained, names=short_names(record.layers))
    return [f"Since step {start} the weights of {layers} {where} alone changed."]


def degenerate_sentences(record: Record) -> list[str]:
    """Which layers were left out of the matrix, and why; their numbers alone where there are many."""
    if len(record.gw.degenerate) > 3:
        places = [str(record.layers.index(name) + 1) for name in record.gw.degenerate]
        return [f"{plural(len(places), 'layer').capitalize()} were left out: {listed(places)}."]
    return [
        f"Layer {record.layers.index(name) + 1} ({name}) was left out: {reason.rstrip('.')}."
        for name, reason in record.gw.degenerate.items()
    ]


def inherited_sentences(histories: Sequence[Sequence[Record]]) -> list[str]:
    """Which boundaries of the last look stood at the first look already, so that training did not make them.

    Told of those alone that were held against networks which learnt nothing, at both looks, and did not grow since.
    """
    kept: dict[int, int] = {}
    for history in histories:
        if len(history) > 1 and history[0].groups.reference and history[-1].groups.reference:
            grown = history[-1].changed.boundaries if history[-1].changed else ()
            both = set(history[0].groups.boundaries) & set(history[-1].groups.boundaries)
            for boundary in sorted(both - set(grown)):
                kept[boundary] = kept.get(boundary, 0) + 1
    if not kept:
        return []
    share = f" in {{}} of {len(histories)} runs" if len(histories) > 1 else ""
    names = short_names(histories[0][-1].layers) if histories[0] else ()
    where = listed([f"{numbered(boundary, names)}{share.format(count)}" for boundary, count in sorted(kept.items())])
    if len(kept) == 1:
        return [f"The boundary after layer {where} stood at the first look already: training did not make it."]
    return [f"The boundaries after layers {where} stood at the first look already: training did not make them."]


def _unseen(looks: Sequence[Record]) -> str:
    """The longest stretch that was not looked at, where that is half of what groups are said to have stood."""
    before, after = max(pairwise(record.step for record in looks), key=lambda pair: pair[1] - pair[0])
    long = after > UNSEEN * before and 2 * (after - before) >= looks[-1].step - looks[0].step
    return f", of which none lies between steps {before} and {after}" if long else ""


def _standing(history: Sequence[Record]) -> list[str]:
    last = history[-1]
    kept = last.groups.boundaries
    alike = [record.groups.strength != "none" and record.groups.boundaries == kept for record in history]
    first = history[alike.index(True)].step
    looks = next((k for k, same in enumerate(reversed(alike)) if not same), len(alike))
    since = history[len(alike) - looks].step
    gone = "" if first == since else f"first seen at step {first}, and gone in between"
    sentences = []
    if since != last.step:
        stood = f"These groups stood at each of the {number_word(looks)} looks since step {since}"
        sentences.append(f"{stood}{_unseen(history[len(alike) - looks :])}{gone and '; they were '}{gone}.")
    elif len(history) > 1:
        sentences.append(
            f"They are back at this last look, {gone}." if gone else "They were first seen at this last look."
        )
    moves = [event for record in history for event in record.events if event.kind == "boundary_moved"]
    if moves and moves[-1].boundary_from is not None and moves[-1].boundary_to is not None:
        move = moves[-1]
        names = short_names(last.layers)
        sentences.append(
            f"The last boundary to move went from after layer {numbered(moves[-1].boundary_from, names)} "
            f"to after layer {numbered(moves[-1].boundary_to, names)} at step {move.step}."
        )
    return sentences


def _earlier_groups(history: Sequence[Record]) -> list[str]:
    standing = [record for record in history if record.groups.strength != "none"]
    if not standing:
        return []
    latest = standing[-1]
    return [
        f"Groups had been seen before, last at step {latest.step} "
        f"({latest.groups.ranges().replace(' | ', ', ')}, {latest.groups.strength}), but did not last."
    ]


def _readout_warning(groups: Groups) -> list[str]:
    used = [i for i, label in enumerate(groups.labels) if label >= 0]
    if len(groups.boundaries) == 1 and used and groups.boundaries[0] == used[-2 if len(used) > 1 else -1]:
        return [
            "A lone boundary before the last layer is what readout collapse looks like, and memorising random labels "
            "makes one too: read it beside validation accuracy."
        ]
    return []
