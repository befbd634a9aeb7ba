"""Which of the modules that a forward pass called a person would name as the layers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, pairwise

from torch import nn

from lightning_gw.activations.layers.called import EMBEDDINGS, CalledModules, embeds, shapes, structure
from lightning_gw.activations.layers.trace import Call, Trace

#: A class is one of blocks if its instances hold this share of the weights, embeddings not counted.
_WORTH_NAMING = 0.08
#: A stage is made of its blocks: they hold this share of its weights.
_MADE_OF = 0.7
#: Networks have at most so many stages; what repeats more often is a block.
_STAGES = 5
#: So many alike within one module are blocks of a dense stage, though each is fed what all before it put out.
_DENSE = 6
#: Residual blocks of equal shape are named from this share on: a small decoder on a large backbone.
_WORTH_NAMING_ALIKE = 0.002
#: Layers of no block are named too where a chain of them holds this share of the weights.
_LEFT_OVER = 0.25


class Blocks(CalledModules):
    """Finds the blocks in what one forward pass called.

    Args:
        module: The network.
        trace: What the forward pass did.
        among: Names of the modules that may be chosen; None for all.

    Attributes:
        reasons: Why modules are left out, to their names.
    """

    def __init__(self, module: nn.Module, trace: Trace, among: Collection[str] | None = None) -> None:
        super().__init__(module, trace, among)
        self.reasons: dict[str, list[str]] = defaultdict(list)

    def find(self) -> list[str]:
        """Names of the layers in the order in which they were called; see `choice.choose_layers`."""
        units = self.outermost(name for names in self._repeated() for name in names)
        units = self.outermost([*units, *self._between(units), *self._beside(units)])
        units = self._without_frozen(units)
        if not units:
            return self._folded(self._without_frozen(self.leaves(self.calls)))
        return self._folded([*self._embeddings(units), *units, *self._chains_beside(units)])

    def seen_at(self, name: str) -> str:
        """Where a layer is read: a single one at the normalisation and activation that follow it in its container."""
        holder, _, key = name.rpartition(".")
        parent = self.named.get(holder, self.module)
        if not isinstance(parent, nn.Sequential) or name not in self.leaves([name]):
            return name
        keys = list(parent._modules)
        end = key
        for following in keys[keys.index(key) + 1 :]:
            child = getattr(parent, following)
            if child is None:  # a place that an author keeps for what is not always there
                continue
            if any(weight.dim() > 1 for weight in child.parameters()):
                break
            end = following
        # A module that appears twice, such as one nn.ReLU for all, is known under its first name only.
        target = getattr(parent, end)
        shared = sum(1 for k in parent._modules.values() if k is target) > 1
        last = f"{holder}.{end}" if holder else end
        return name if shared or self.trace.counts.get(last) != self.trace.counts.get(name) else last

    # ---- what repeats -------------------------------------------------------------------------------------------

    def _repeated(self) -> list[list[str]]:
        """The classes whose instances follow each other, hold much of the weights, and are no stages."""
        by_class: dict[type[nn.Module], list[str]] = defaultdict(list)
        for name, call in self.calls.items():
            if self.may_be_block(name, call.module):
                by_class[type(call.module)].append(name)
        found = []
        for names in by_class.values():
            outer = self.outermost(names)
            if self._are_worth_naming(outer) and not self._are_stages(outer):
                found.append(outer)
        found += self._alike_sequentials()
        # What is left of a class outside the blocks of others is to be worth naming by itself.
        units = [name for names in found for name in names]
        outermost = set(self.outermost(units))
        free = [[name for name in names if name in outermost] for names in found]
        everywhere = Counter(type(call.module) for call in self.calls.values())
        everywhere[nn.Sequential] = 0  # a class that says nothing of what is inside
        return [
            names
            for names in free
            if self._are_worth_naming(names) and 2 * len(names) >= everywhere[type(self.calls[names[0]].module)]
        ]

    def _are_worth_naming(self, names: Sequence[str]) -> bool:
        share = self.size(names) / self.total
        if share < _WORTH_NAMING_ALIKE or not self._follow_each_other(names):
            return False
        alike = len(names) > 1 and len({shapes(self.calls[name].module) for name in names}) == 1
        return share >= _WORTH_NAMING or (alike and self.goes_around(names[0]))

    def _follow_each_other(self, names: Sequence[str]) -> bool:
        calls = [self.calls[name] for name in names]
        return any(b.after(a) for a, b in combinations(calls, 2)) or any(self.is_looped(name) for name in names)

    def loops(self, units: Sequence[str]) -> set[str]:
        """Units that are called over and over, each time on what came out before, and not within a larger whole.

        A network of several units that is called again as a whole, as in a rollout, is no deeper for that.
        """
        found = set()
        for unit in units:
            if not self.is_looped(unit):
                continue
            again = next(call for call in self.trace.calls if call.name == unit and call.time == 2)
            whole, up = unit, again.parent
            while up is not None and up.time > 1:
                whole, up = up.name, up.parent
            if sum(1 for other in units if self.is_inside(other, [whole])) <= 2:
                found.add(unit)
        return found

    def _are_stages(self, names: Sequence[str]) -> bool:
        """Whether instances of one class are stages or whole networks, made of the blocks that a person would name."""
        in_a_row = "*" in _row(names[0]) and len({_row(name) for name in names}) == 1 and not self._are_parted(names)
        deep = all(len(self.leaves(self.inside[name])) >= 3 for name in names) and len(names) <= 3 and not in_a_row
        if deep and not self._holds_what_is_elsewhere(names) and not any(self.goes_around(name) for name in names):
            return True  # an encoder and a decoder of plain layers, say
        around: bool | None = None
        for name in names:
            for inner in self.classes_inside(name):
                follow = all(self.calls[b].after(self.calls[a]) for a, b in pairwise(inner))
                if len(inner) < 2 or not follow or self.size(inner) < _MADE_OF * self.size([name]):
                    continue
                if len(names) <= _STAGES and self.inside[inner[0]] and self._structure_repeats(inner):
                    # Layers that are fed all those before them have a way around each other, and are many.
                    calls = [self.calls[k] for k in inner]
                    if len(inner) >= _DENSE or not self.trace.goes_around(self.calls[name], calls):
                        return True
                forms = [shapes(self.calls[k].module) for k in inner]
                if len(set(forms)) < len(forms):
                    if around is None:
                        around = any(
                            self.trace.goes_around(self.calls[k], [self.calls[i] for i in held])
                            for k in names
                            for held in self.classes_inside(k)
                            if type(self.calls[held[0]].module) is type(self.calls[inner[0]].module)
                        )
                    if not around or all(self.goes_around(k) for k in inner):
                        return True
        return False

    def _are_parted(self, names: Sequence[str]) -> bool:
        """Whether other layers lie between one of these and the next, as a decoder between two encoders."""
        outside = [self.calls[name] for name in self.leaves(self.calls) if not self.is_inside(name, names)]
        calls = [self.calls[name] for name in names]
        return any(c.after(a) and b.after(c) for a, b in pairwise(calls) for c in outside)

    def _holds_what_is_elsewhere(self, names: Sequence[str]) -> bool:
        """Whether these hold a block of which there are others outside them, as the way up of a U-Net does."""
        kinds = {type(self.calls[inner[0]].module) for name in names for inner in self.classes_inside(name)}
        return any(type(call.module) in kinds and not self.is_inside(name, names) for name, call in self.calls.items())

    def _structure_repeats(self, names: Sequence[str]) -> bool:
        structures = [structure(self.calls[name].module) for name in names]
        return any(structures.count(one) >= 3 for one in structures)

    def _alike_sequentials(self) -> Iterator[list[str]]:
        """``nn.Sequential`` that a person wrote as blocks: alike, in a list, one after another, and most of it all."""
        by_structure: dict[object, list[str]] = defaultdict(list)
        for holder, child in self.named.items():
            members = [f"{holder}.{key}" for key, _ in child.named_children()]
            if not isinstance(child, nn.ModuleList) or not all(name in self.calls for name in members):
                continue
            structures = {structure(block) for block in child.children()}
            if len(structures) == 1 and all(type(block) is nn.Sequential for block in child.children()):
                by_structure[structures.pop()] += members
        for names in by_structure.values():
            if len(names) >= 2 and self._follow_each_other(names) and 2 * self.size(names) > self.total:
                yield names

    # ---- what belongs to it -------------------------------------------------------------------------------------

    def _beside(self, units: Sequence[str]) -> list[str]:
        """Blocks of other classes that stand in a row with those found, such as the first of an EfficientNet."""
        rows = {_row(name) for name in units if "*" in _row(name)}
        return [
            name
            for name in self.calls
            if _row(name) in rows and self.inside[name] and not self.holds(name, units) and name not in units
        ]

    def _between(self, units: Sequence[str]) -> list[str]:
        """Single modules of weight between blocks, such as the bottom of a U-Net."""
        found = [
            name
            for name, call in self.calls.items()
            if self.inside[name]
            and not self.is_inside(name, units)
            and not self.holds(name, units)
            and self.size([name]) >= _WORTH_NAMING * self.total
            and any(call.after(self.calls[unit]) for unit in units)
            and any(self.calls[unit].after(call) for unit in units)
        ]
        return self.outermost(found)

    def _chains_beside(self, units: Sequence[str]) -> list[str]:
        """Single layers before or after all blocks, where a chain of them holds much of the weights."""
        rest = [
            name
            for name in self._without_frozen(self.leaves(self.calls))
            if not self.is_inside(name, units) and not isinstance(self.calls[name].module, EMBEDDINGS)
        ]
        feed = [name for name in rest if any(self.calls[unit].after(self.calls[name]) for unit in units)]
        # The last one reads the answer out.
        inner = [name for name in rest if any(self.calls[other].after(self.calls[name]) for other in rest)]
        follow = [name for name in inner if name not in feed]
        return [
            name
            for names in (feed, follow)
            if self.size(names) >= _LEFT_OVER * self.total
            and any(self.calls[b].after(self.calls[a]) for a, b in pairwise(names))
            for name in names
        ]

    def _embeddings(self, units: Sequence[str]) -> list[str]:
        """What embeds the inputs of each unit that no other unit feeds."""
        candidates = self.outermost(
            name
            for name, call in self.calls.items()
            if self._is_embedding(name, call) and not self.is_inside(name, units) and not self.holds(name, units)
        )
        found: dict[str, None] = {}
        for unit in units:
            call = self.calls[unit]
            if any(call.after(self.calls[other]) for other in units if other != unit):
                continue
            feeding = [name for name in candidates if call.after(self.calls[name]) and self.calls[name].fed]
            if feeding:
                found[max(feeding, key=lambda name: (self.calls[name].fed, self.size([name])))] = None
        return list(found)

    def _is_embedding(self, name: str, call: Call) -> bool:
        if isinstance(call.module, EMBEDDINGS):
            return True
        if not embeds(call.module):
            return False
        leaves = [self.calls[k].module for k in self.leaves([name, *self.inside[name]])]
        # A convolution that takes overlapping windows is the stem of a network, whatever it is called.
        windows = [leaf for leaf in leaves if isinstance(leaf, nn.modules.conv._ConvNd)]
        return any(isinstance(leaf, EMBEDDINGS) for leaf in leaves) or all(
            leaf.kernel_size == leaf.stride for leaf in windows
        )

    def _folded(self, units: Sequence[str]) -> list[str]:
        """In order, with one module in the place of units that lie beside each other inside it and are brought together
        there, such as the projections of an attention: they are one step of the way through the network.
        """
        found = self.in_order(units)
        for name in sorted(self.calls, key=lambda name: len(self.inside[name])):
            held = [unit for unit in found if unit in self.inside[name]]
            rest = [unit for unit in found if unit not in held]
            if len(held) > 1 and len(rest) > 1 and self._is_one_step(name, held) and self._is_a_part(name, held, rest):
                found = self.in_order([name, *rest])
        return found

    def _is_a_part(self, name: str, held: Sequence[str], rest: Sequence[str]) -> bool:
        """Whether a module is one step among others, not most of the network: it is between others, or smaller."""
        call, others = self.calls[name], [self.calls[unit] for unit in rest]
        between = any(call.after(other) for other in others) and any(other.after(call) for other in others)
        return between or self.size(held) <= self.size(rest)

    def _is_one_step(self, name: str, held: Sequence[str]) -> bool:
        """Whether these begin beside each other, none is followed by more than one more, and the result uses all."""
        calls = [self.calls[unit] for unit in held]
        followers = [[call for call in calls if call.after(other)] for other in calls]
        later = {call.name for found in followers for call in found}
        deep = any(b.after(a) for found in followers for a in found for b in found)
        return len(held) - len(later) > 1 and not deep and self.trace.uses_all(self.calls[name], calls)

    def _without_frozen(self, names: Sequence[str]) -> list[str]:
        """Leave out what does not train and feeds nothing that does: teachers, and networks that only judge."""
        trains = {name for name, call in self.calls.items() if any(p.requires_grad for p in call.module.parameters())}
        if not trains & set(names):
            return list(names)
        sinks = [self.calls[name] for name in trains if not self.inside[name] or name in names]
        kept = []
        for name in names:
            if name in trains or any(sink.after(self.calls[name]) for sink in sinks):
                kept.append(name)
            else:
                self.reasons["frozen, and nothing that trains uses what they put out"].append(name)
        return kept


def _row(name: str) -> str:
    """The place of a module without its numbers: modules of one row differ by these only."""
    return re.sub(r"\d+[a-z]?(?![^\W\d])", "*", name)
