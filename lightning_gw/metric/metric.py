"""`GromovWassersteinMatrix`: the matrix of all pairs of layers as a torchmetrics `Metric`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.prints import rank_zero_warn

from lightning_gw.geometry.geometries import Geometry, get_geometry
from lightning_gw.gw.matrix import gw_matrix
from lightning_gw.gw.result import GWMatrix
from lightning_gw.gw.search.effort import PLANS, Effort
from lightning_gw.metric.inputs import check_batch, check_names
from lightning_gw.utilities.distributed import Ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: What the states that hold the representations are called, before the layer's name.
STATE = "representations."


class GromovWassersteinMatrix(Metric):
    r"""Compute Gromov-Wasserstein values between all pairs of layers, over all batches and processes.

    .. math::
        \text{distortion}(A, B) = \min_p \frac{1}{n^2} \sum_{i, k} (A_{ik} - B_{p_i p_k})^2

    Where :math:`A` and :math:`B` are the matrices of distances between the same :math:`n` inputs in two layers, centred
    and scaled as `geometry` says, and :math:`p` runs over the permutations of the inputs. See
    :func:`~lightning_gw.gw_matrix`, which does the work.

    As input to ``forward`` and ``update`` the metric accepts the following input:

    - ``representations`` (mapping of :class:`str` to :class:`~torch.Tensor`): the name of every layer to its
      representations of this batch with shape ``(batch, d)``. ``d`` may differ from layer to layer, and the size of a
      batch from update to update

    As output of ``forward`` and ``compute`` the metric returns the following output:

    - ``matrix`` (:class:`~lightning_gw.GWMatrix`): distortions, certified lower bounds, the paired measure and
      couplings of all pairs of layers. It is no tensor: log numbers from it, such as
      ``matrix.similarity[0, 1].item()``

    .. note::
        The cost grows with at least the square of the number of inputs. The first `max_inputs` are compared, those of
        rank 0 before those of rank 1 and so on; a warning says so when there were more, and ``inputs_seen`` counts all.
        Let the data come in an order whose beginning stands for the whole, or choose `max_inputs` larger.

    .. note::
        ``forward`` compares the layers on each batch besides. Call ``update`` where only the whole counts.

    In many processes, ``compute`` gathers the inputs of all ranks and shares the pairs of layers out between them;
    every rank gets the same result, that of one process on the same inputs in the order of ranks.

    Args:
        layers: Names of the layers, in depth order.
        geometry: How distances are made, see :func:`~lightning_gw.gw_matrix`.
        effort: ``"fast"``, ``"default"`` or ``"high"``, see :func:`~lightning_gw.gw_matrix`.
        bounds: ``"fast"``, ``"tight"`` or None, see :func:`~lightning_gw.gw_matrix`.
        anchor: Weight of the share of inputs not matched to themselves.
        seed: Seed of the search.
        max_inputs: Most inputs that are compared; None for all.
        kwargs: Additional keyword arguments, see :ref:`Metric kwargs` for more info.

    Raises:
        ValueError:
            If `layers` is empty or names a layer twice, if `geometry`, `effort` or `bounds` is unknown, if `anchor` is
            negative, or if `max_inputs` is less than 4.
        TypeError:
            If `layers` is a single string or holds anything but strings.

    Example:
        >>> import torch
        >>> from lightning_gw import GromovWassersteinMatrix
        >>> x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        >>> metric = GromovWassersteinMatrix(layers=["input", "rotated", "squashed"])
        >>> for batch in x.split(16):
        ...     metric.update({"input": batch, "rotated": 3 * batch.flip(1), "squashed": torch.tanh(batch)})
        >>> matrix = metric.compute()
        >>> matrix
        GWMatrix(3 layers, n=32, standardized)
        >>> matrix.similarity.round(2)[0, 1].item()  # neither turning nor scaling changes how inputs are arranged
        1.0
        >>> bool(matrix.similarity[0, 2] < 1)
        True

    """

    is_differentiable: bool = False
    higher_is_better: bool | None = None
    full_state_update: bool = False

    seen: Tensor
    limit: Tensor
    __jit_unused_properties__: ClassVar[list[str]] = [*Metric.__jit_unused_properties__, "inputs_seen"]

    def __init__(
        self,
        layers: Iterable[str],
        geometry: str | Geometry = "standardized",
        effort: Effort = "default",
        bounds: Literal["fast", "tight"] | None = "fast",
        anchor: float = 0.0,
        seed: int = 0,
        max_inputs: int | None = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layers = check_names(layers)
        self.geometry = get_geometry(geometry)
        if effort not in PLANS:
            raise ValueError(f"Expected argument `effort` to be one of {', '.join(PLANS)}, but got {effort!r}.")
        if bounds not in ("fast", "tight", None):
            raise ValueError(f"Expected argument `bounds` to be 'fast', 'tight' or None, but got {bounds!r}.")
        if not 0 <= anchor < float("inf"):
            raise ValueError(f"Expected argument `anchor` to be finite and not negative, but got {anchor}.")
        if max_inputs is not None and max_inputs < 4:
            raise ValueError(f"Expected argument `max_inputs` to be at least 4 or None, but got {max_inputs}.")
        self.effort = effort
        self.bounds = bounds
        self.anchor = anchor
        self.seed = seed
        self.max_inputs = max_inputs
        # All there are from the outset: a rank that has seen no input yet must take part in gathering every one.
        for name in self.layers:
            self.add_state(STATE + name, default=[], dist_reduce_fx="cat")
        self.add_state("seen", default=torch.tensor(0), dist_reduce_fx="sum")
        # A state too, so that a MetricCollection lets only metrics that keep equally many inputs share them.
        self.add_state("limit", default=torch.tensor(max_inputs or 0), dist_reduce_fx="max")

    @property
    def inputs_seen(self) -> int:
        """How many inputs this process was given since the last reset, also those beyond `max_inputs`."""
        return int(self.seen)

    def update(self, representations: Mapping[str, Tensor]) -> None:
        """Add one batch.

        Args:
            representations: Layer name to ``(batch, d)``, for all layers and no others.

        Raises:
            ValueError: If a layer is missing or unknown, is not ``(batch, d)``, has another ``d`` than before or
                another number of inputs than the other layers.
            TypeError: If `representations` is no mapping, or a layer's is no tensor of real numbers.
        """
        widths = {name: rows[0].shape[1] for name in self.layers if (rows := self._rows(name))}
        batch = check_batch(representations, self.layers, widths)
        size = len(next(iter(batch.values())))
        room = size if self.max_inputs is None else max(0, self.max_inputs - self._kept())
        for name, x in batch.items():
            if min(room, size) > 0:
                # A copy where rows are left out: a view would keep the whole batch in memory.
                self._rows(name).append(x if room >= size else x[:room].clone())
        self.seen = self.seen + size

    def compute(self) -> GWMatrix:
        """Compare all layers on the inputs so far.

        Raises:
            ValueError: If there are fewer than 4 inputs.
        """
        kept = {name: self._whole(name) for name in self.layers}
        count = len(next(iter(kept.values())))
        if count == 0:
            raise ValueError(
                "GromovWassersteinMatrix has no inputs to compare the layers on: call `update` before `compute`, and "
                "after every `reset`."
            )
        if count < int(self.seen):
            rank_zero_warn(
                f"GromovWassersteinMatrix compares the layers on the first {count} of {int(self.seen)} inputs "
                f"(max_inputs={self.max_inputs}).",
                UserWarning,
            )
        # The states were gathered for this very call, which therefore every rank is in; torchmetrics knows no other way
        # to tell that no rank will be waited for in vain.
        everyone = self._is_synced and self._to_sync and self.dist_sync_fn is None
        return gw_matrix(
            kept,
            geometry=self.geometry,
            effort=self.effort,
            bounds=self.bounds,
            anchor=self.anchor,
            seed=self.seed,
            progress=False,
            process_group=(self.process_group or "world") if everyone else None,
        )

    def forward(self, *args: Any, **kwargs: Any) -> GWMatrix:
        """Add one batch, and compare the layers on it alone.

        Args:
            args: As in `update`; likewise `kwargs`.

        Returns:
            The matrix of this batch.
        """
        matrix: GWMatrix = super().forward(*args, **kwargs)
        self._forward_cache = None  # see `_Sealed`; nothing reads it but `to`, to move tensors that are not there
        return matrix

    def plot(self, val: GWMatrix | None = None, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw the matrix: GW similarity above the diagonal, the paired measure below, groups outlined.

        Args:
            val: A result of ``forward`` or ``compute``; ``compute`` is called if it is left out. Of one between two
                sets of layers the GW similarity of every row to every column is drawn.
            ax: Axes to draw into, without colour bar; a figure of its own where None.

        Returns:
            Figure and Axes object

        Raises:
            TypeError: If `val` is something else, such as a list of results.
            ValueError: If the geometry has no similarities.
        """
        matrix = self.compute() if val is None else val
        if not isinstance(matrix, GWMatrix):
            raise TypeError(f"Expected argument `val` to be one GWMatrix, but got {type(matrix).__name__}.")
        return matrix.plot(ax)

    def _rows(self, name: str) -> list[Tensor]:
        return getattr(self, STATE + name)

    def _kept(self) -> int:
        """How many inputs are held in the states."""
        return sum(len(x) for x in self._rows(self.layers[0]))

    def _whole(self, name: str) -> Tensor:
        """``(n, d)`` of one layer, from the states of one process or from gathered ones."""
        rows = getattr(self, STATE + name)
        return (dim_zero_cat(rows) if len(rows) else torch.empty(0, 0))[: self.max_inputs]

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Join with the states before a `forward`, or those of another metric; keep to `max_inputs`."""
        super()._reduce_states(incoming_state)
        for name in self.layers if self.max_inputs is not None else ():
            rows = self._rows(name)
            if sum(len(x) for x in rows) > (self.max_inputs or 0):
                setattr(self, STATE + name, [dim_zero_cat(rows)[: self.max_inputs].clone()])

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any | None = None) -> None:
        if dist_sync_fn is gather_all_tensors:
            self._prepare_to_gather(Ranks(process_group or self.process_group or "world"))
        super()._sync_dist(dist_sync_fn, process_group)

    def _prepare_to_gather(self, ranks: Ranks) -> None:
        """Make sure that all ranks gather tensors of the same kind: unlike ones would be mixed up or waited for."""
        ranks.agree(layers=self.layers, max_inputs=self.max_inputs)
        kinds = ranks.exchange(
            {name: (rows[0].shape[1], dim_zero_cat(rows).dtype) for name in self.layers if (rows := self._rows(name))}
        )
        expected = next((theirs for theirs in kinds if theirs), {})
        differences = [
            f"rank {rank} has {name!r} as {theirs[name][1]} of width {theirs[name][0]}, another rank as {kind[1]} of "
            f"width {kind[0]}"
            for rank, theirs in enumerate(kinds)
            for name, kind in expected.items()
            if theirs and theirs[name] != kind
        ]
        if differences:
            raise ValueError(
                "Every rank must update with the same kind of tensors, but " + "; ".join(differences) + "."
            )
        for name, (width, dtype) in expected.items():
            if not self._rows(name):
                setattr(self, STATE + name, [torch.empty(0, width, dtype=dtype, device=self.device)])

    def _wrap_compute(self, compute: Callable) -> Callable:
        """Keep torchmetrics from taking the result apart, and from keeping gathered states when there is none."""
        wrapped = super()._wrap_compute(lambda: _Sealed(compute()))

        def unsealed() -> GWMatrix:
            try:
                return wrapped().matrix
            except Exception:
                if self._is_synced and self._to_sync and self._should_unsync:
                    self.unsync()
                raise

        return unsealed


class _Sealed:
    """Keeps a result from `apply_to_collection`, which looks for tensors in dataclasses and refuses frozen ones."""

    def __init__(self, matrix: GWMatrix) -> None:
        self.matrix = matrix
