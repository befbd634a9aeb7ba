"""What becomes of the activations of one look: matrix, groups, events, growth, put together in a `Record`.

Knows nothing of Lightning: the same records come from live training and from saved checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_gw.analysis.answer import Answer, Question
from lightning_gw.analysis.config import AnalysisConfig
from lightning_gw.analysis.start import Held, Start, null_of_layers
from lightning_gw.analysis.warm_start import warm_start_from_state, warm_start_state
from lightning_gw.analysis.whereabouts import Whereabouts
from lightning_gw.geometry.spaces import Spaces, get_geometry
from lightning_gw.groups.finding import find_groups
from lightning_gw.groups.groups import Groups
from lightning_gw.groups.reference import Reference
from lightning_gw.groups.roughness import MINIMUM_FOR_ROUGHNESS, why_no_roughness
from lightning_gw.groups.sequences import ends_of
from lightning_gw.groups.strength import no_stronger_than_stable
from lightning_gw.groups.tracking.tracker import GroupTracker
from lightning_gw.gw.looks import LayerMatrices
from lightning_gw.gw.result import GWMatrix
from lightning_gw.measures import agreements, layer_similarities, unpaired_gw_matrix, why_undefined
from lightning_gw.records.context import LookContext
from lightning_gw.records.record import Record
from lightning_gw.significance import Null
from lightning_gw.significance.evidence import (
    judged,
    null_from_state,
    null_state,
    resampled,
    spread,
    tested,
)
from lightning_gw.utilities.arrays import FloatArray
from lightning_gw.utilities.distributed import Ranks

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    Group: TypeAlias = ProcessGroup | Literal["world"] | None

#: Splits of the probe behind unpaired comparison.
UNPAIRED_SPLITS = 4
#: Said where looks are made in another way from some step on.
SEEN_OTHERWISE = "none: the networks with fresh weights were looked at in another way than this look"
#: Said where a run was held against nothing.
NO_NULL = "none: no null was asked for (null_samples=99 would make one)"


class Analysis:
    """Turns representations into records, and remembers from look to look what the next one needs.

    That is: which group is which, the adjacent distances at the first look, which `growth` is measured against, and
    the couplings found last, which the next search starts from.

    Args:
        config: How; by default that of `AnalysisConfig`.
        changes: What of it is to be otherwise, by name.

    Raises:
        TypeError: If there is no such option.
        ValueError: If one of them is out of range.
    """

    def __init__(self, config: AnalysisConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or AnalysisConfig(), **changes)
        self._geometry = get_geometry(self.config.geometry)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next look is the first."""
        self._tracker = GroupTracker()
        self._layers: tuple[str, ...] = ()
        self._start: Start | None = None
        self._trained = ""  # why the network had learnt something before the first look
        self._null: Null | str = NO_NULL
        self._previous: GWMatrix | None = None
        self._previous_anchored: GWMatrix | None = None
        self._answer: Answer | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the first look; empty before it."""
        return self._layers

    def look(
        self,
        representations: Mapping[str, Tensor],
        context: LookContext,
        null: Mapping[str, Any] | None = None,
        weights: Mapping[str, str] | None = None,
        *,
        process_group: Group = None,
    ) -> Record:
        """Analyse one look.

        Args:
            representations: Layer name → ``(n, d)``, in depth order; the same layers at every look.
            context: When and how the look was made, and what is missing or different in it so far.
            null: What this look and all that follow are held against, as `evidence.null_state` gives it; None keeps
                what there is.
            weights: Layer → what tells its weights from any others (see `weights.fingerprints`); None where that is
                not known.
            process_group: Processes that all make this call, share out the pairs of layers, and take the first one's
                representations, whose buffers may differ from theirs. If one fails, all do.

        Raises:
            ValueError: If the layers are not those of the looks before, or cannot be compared.
            RankError: If another process failed.
        """
        started = time.perf_counter()
        ranks = Ranks(process_group)
        with ranks.failing_together(agree=True):
            seen = _as_the_first_sees(ranks, representations)
            if null is not None:
                self._null = null_from_state(null, self._geometry)
                self._trained = str(null.get("trained", ""))
            asked = Question.of(seen, context.probe, context.notes, weights or {}, self._null, self._start)
            repeated = self._answer is not None and self._answer.question.repeats(asked)
            # The first process decides: notes may differ, and to work a look out is something they do together.
            if ranks.first(repeated) and self._answer is not None:
                answer = self._answer.once_more(self.config.warm_start)
            else:
                answer = Answer(asked, *self._analyse(seen, context, weights or {}, process_group))
            found, anchored, start = answer.found, answer.anchored, answer.start
        # Nothing is remembered before everything that can fail is done, everywhere: a failed look leaves no trace.
        if self._start is not None and start is not self._start:
            self._null = SEEN_OTHERWISE
            self._tracker.forget_growth()
        events = tuple(self._tracker.update(context.step, found["groups"]))
        self._layers, self._start = tuple(seen), start
        self._previous, self._previous_anchored = found["gw"], anchored
        self._answer = answer
        return Record(
            **(vars(context) | found),
            events=events,
            group_ids=self._tracker.group_ids,
            seconds=time.perf_counter() - started,
        )

    def groups_alone(
        self,
        representations: Mapping[str, Tensor],
        reference: Reference | None = None,
        sequences: Sequence[Sequence[str]] = (),
    ) -> tuple[Groups, Mapping[str, str]]:
        """Groups as a look without a null finds them; nothing is remembered.

        Args:
            representations: Layer name → ``(n, d)``, in depth order.
            reference: What they are held against.
            sequences: Names of the layers of each sequence, where there are several.

        Returns:
            The groups, and why layers were left out, by name.
        """
        matrices = self._matrices(representations)
        anchor = self.config.anchor
        anchored = matrices.anchored(anchor, None, None) if anchor else matrices.plain(None, bounds=None)
        distances, _ = self._distances(representations, anchored, {})
        ends = ends_of(sequences, tuple(representations))
        found = self._grouped(matrices.spaces, anchored, distances, reference, ends)
        return no_stronger_than_stable(found), anchored.degenerate

    def _analyse(
        self,
        representations: Mapping[str, Tensor],
        context: LookContext,
        weights: Mapping[str, str],
        process_group: Group,
    ) -> tuple[dict[str, Any], GWMatrix, Start]:
        """Find whatever of a record comes from its own look alone, and change nothing.

        Returns:
            Those fields of the record; the matrix its groups were found in; and what growth is measured against.
        """
        layers = tuple(representations)
        if self._layers and layers != self._layers:
            gone, new = set(self._layers) - set(layers), set(layers) - set(self._layers)
            raise ValueError(
                "The layers are not those of the looks before"
                + (f"; missing: {', '.join(sorted(gone))}" if gone else "")
                + (f"; new: {', '.join(sorted(new))}" if new else "")
                + ("; their order changed" if not gone and not new else "")
                + ". A history follows one set of layers."
            )
        matrices = self._matrices(representations, process_group)
        spaces = matrices.spaces
        gw = matrices.plain(self._fitting(representations, self._previous))
        anchored = gw
        if self.config.anchor:
            before = self._fitting(representations, self._previous_anchored)
            anchored = matrices.anchored(self.config.anchor, gw, before)
        measures = layer_similarities(representations, self.config.measures)
        distances, found_in = self._distances(representations, anchored, measures)
        basis = {"geometry": self._geometry.name, "anchor": self.config.anchor, "paired": self.config.paired}
        here = Whereabouts.of(spaces, weights)
        looked = Start.of(context, basis, distances, gw.identity_distance, self._trained, here)
        begun, said = looked.unless(self._start)
        first = begun is not self._start
        null = SEEN_OTHERWISE if said else null_of_layers(self._null, layers)
        held = Held.of(begun, null, first, comparable=self.config.paired)
        ends = ends_of(context.probe.get("sequences", ()), layers)
        test = tested(representations, null, ends)
        grouped = self._grouped(spaces, anchored, distances, held.reference, ends)
        groups = judged(grouped, test, distances, held.reference)
        changed = None if first else find_groups(distances, begun.reference, sequence_ends=ends)
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = groups.adjacent / begun.adjacent
        notes = [
            *context.notes,
            *said,
            *(f"Layer {name} is left out: {reason}" for name, reason in gw.degenerate.items()),
        ]
        notes += [f"{name}: {reason}" for name, reason in why_undefined(representations, self.config.measures).items()]
        # A network of too few layers has no roughness at any look; the first record says so for all.
        if (lacking := why_no_roughness(groups.roughness)) and (
            not self._layers or len(layers) > MINIMUM_FOR_ROUGHNESS
        ):
            notes.append(lacking)
        samples, seed = self.config.bootstrap_samples, self.config.seed
        paired = find_groups(gw.identity_distance, held.paired, sequence_ends=ends)
        paired = resampled(paired, spaces, gw, samples, seed, held.paired, identity=True)
        found = {
            "layers": layers,
            "gw": gw,
            "groups": groups,
            "groups_paired": paired,
            "changed": changed,
            "reference": held.words,
            **spread(representations, spaces, anchored if distances is anchored else None, held.reference, ends),
            "growth": growth,
            **here.compared(begun.whereabouts, layers),
            "measures": measures,
            "notes": tuple(notes),
            "found_in": found_in,
            "null": test.null,
            "agreement": agreements(gw, measures, groups.labels, seed=self.config.seed) if gw.unit_scale else {},
        }
        return found, anchored, begun

    def _matrices(self, representations: Mapping[str, Tensor], process_group: Group = None) -> LayerMatrices:
        """What is asked of these layers."""
        return LayerMatrices.of(representations, self._geometry, self.config.effort, self.config.seed, process_group)

    def _fitting(self, representations: Mapping[str, Tensor], previous: GWMatrix | None) -> GWMatrix | None:
        """`previous` where a search may start from it."""
        inputs = {len(x) for x in representations.values()}
        fits = self.config.warm_start and previous is not None and inputs == {previous.couplings.shape[-1]}
        return previous if fits else None

    def _distances(
        self,
        representations: Mapping[str, Tensor],
        anchored: GWMatrix,
        measures: dict[str, NDArray[np.float64]],
    ) -> tuple[GWMatrix | FloatArray, str]:
        """The distances that groups are found in, and the name of their matrix.

        The matrix is kept among the record's measures where the record does not hold it already.
        """
        if not self.config.paired:
            unpaired = unpaired_gw_matrix(
                representations, splits=UNPAIRED_SPLITS, seed=self.config.seed, progress=False
            )
            measures["gw_unpaired"] = unpaired.similarity
            return unpaired.resolved_distance, "gw_unpaired"
        if anchored.anchor and anchored.unit_scale:
            measures["gw_anchored"] = anchored.similarity
        return anchored, "gw_anchored" if anchored.anchor else "gw"

    def _grouped(
        self,
        spaces: Spaces,
        anchored: GWMatrix,
        distances: GWMatrix | FloatArray,
        reference: Reference | None,
        sequence_ends: Sequence[int] = (),
    ) -> Groups:
        """The groups in these distances, with their stability where the matchings behind them are known."""
        groups = find_groups(distances, reference, sequence_ends=sequence_ends)
        if distances is not anchored:
            return groups
        samples, seed = self.config.bootstrap_samples, self.config.seed
        return resampled(groups, spaces, anchored, samples, seed, reference)

    def state_dict(self) -> dict[str, Any]:
        """State in plain types and tensors, for a checkpoint that is loaded ``weights_only``."""
        state: dict[str, Any] = {"tracker": self._tracker.state_dict(), "layers": list(self._layers)}
        state["null"] = null_state(self._null)
        state["trained"] = self._trained
        if self._start is not None:
            state["begun"] = self._start.state_dict()
        if self._previous is not None and self._previous_anchored is not None:
            state |= warm_start_state(self._previous, self._previous_anchored)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state that `state_dict` gave."""
        self.reset()
        self._tracker.load_state_dict(state["tracker"])
        self._layers = tuple(state["layers"])
        # Checkpoints made before nulls were kept lack it.
        self._null = null_from_state(state.get("null", {"reason": NO_NULL}), self._geometry)
        self._trained = str(state.get("trained", ""))
        if "begun" in state:
            self._start = Start.from_state(state["begun"])
        elif "start" in state:  # checkpoints made before looks were held against it kept the distances alone
            neighbours = state["start"].cpu().numpy().astype(np.float64)
            unknown = np.full((len(neighbours) + 1,) * 2, np.nan)
            known = unknown.copy()
            known[np.arange(len(neighbours)), np.arange(1, len(known))] = neighbours
            basis = {"normalisation": "own statistics", "positions": "as they are"}
            self._start = Start(0, known, unknown, basis=basis)
        self._previous, self._previous_anchored = warm_start_from_state(self._layers, state)


def _as_the_first_sees(ranks: Ranks, representations: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The first process's representations, on every process, each on its own device."""
    if ranks.size == 1:
        return representations
    theirs = ranks.first({name: values.cpu() for name, values in representations.items()})
    device = next(iter(representations.values())).device
    return {name: values.to(device) for name, values in theirs.items()}
