"""Processes that fail together: what one of them cannot do, none of them goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


from lightning_gw.utilities.errors import RestoreError, reason_of

T = TypeVar("T")
Found = TypeVar("Found", Tensor, tuple[Tensor, Tensor])
#: Matrices of unit root mean square that differ by less between ranks come from the same representations, computed in
#: float32 by another machine; those of other inputs differ by about 1.
ROUNDING = 1e-3
#: Differences between ranks that an error lists.
LISTED = 4
#: Marks an error that all ranks know of, and one with which this rank has left what all do together.
_TOLD, _LEFT = "_lightning_gw_told", "_lightning_gw_left"
#: How an error says that a rank does not have something at all.
NOTHING = "nothing"


class RankError(RuntimeError):
    """Another rank failed at the same call; the message names it and what it said."""


@dataclass(frozen=True)
class _Failure:
    """What a rank hands over in place of a result."""

    message: str
    not_restored: bool

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        return cls(reason_of(error), isinstance(error, RestoreError))


@dataclass(frozen=True)
class _Left:
    """What a rank hands over that does no more of what all do together, and why, where the others do not know yet."""

    failure: _Failure | None


class Ranks:
    """The processes that do one thing together, and fail together: what one cannot do, none goes on from.

    Args:
        group: The processes, all of which make the same calls; ``"world"`` for all there are (just this one where
            `torch.distributed` is not initialised); None for this one alone, whatever else runs.
        what: What they do, for the error, such as ``"The look at step 8"``.

    Attributes:
        rank: Place of this process in the group, from 0.
        size: How many processes there are.

    Raises:
        ValueError: If this process is not in the group.
        TypeError: For anything that is not a process group.
    """

    def __init__(
        self, group: ProcessGroup | Literal["world"] | None = None, what: str = "The Gromov-Wasserstein matrix"
    ) -> None:
        self.rank, self.size = 0, 1
        self._what = what
        self._group: Any = None
        self._lost = False
        if group is None or (group == "world" and not (dist.is_available() and dist.is_initialized())):
            return
        if group == "world":
            group = dist.group.WORLD
        elif group is dist.GroupMember.NON_GROUP_MEMBER:
            raise ValueError("process_group does not hold this process; only its members can make this call.")
        elif not isinstance(group, dist.ProcessGroup):
            raise TypeError(f"process_group is {group!r}; expected a torch ProcessGroup, 'world' or None.")
        self._group = group
        self.rank, self.size = dist.get_rank(self._group), dist.get_world_size(self._group)

    def exchange(self, mine: T) -> list[T]:
        """Hand `mine` to every rank.

        Args:
            mine: Anything that can be pickled; tensors on the CPU.

        Returns:
            What the ranks handed over, in their order.

        Raises:
            RankError: On every rank, if another handed over a failure.
            RestoreError: In its place, if a network is no longer what it was: what all do next depends on that.
        """
        if self.size == 1:
            return [mine]
        everyone = self._gathered(mine)
        if failures := _failures(everyone):
            raise self._error(failures)
        if left := [f"rank {rank}" for rank, theirs in enumerate(everyone) if isinstance(theirs, _Left)]:
            raise RankError(f"{self._what} was left by {' and '.join(left)} before it was done")
        return everyone

    def _gathered(self, mine: object) -> list[Any]:
        everyone: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(everyone, mine, group=self._group)
        except Exception:
            self._lost = True  # there is no way left to tell the others
            raise
        return everyone

    def _error(self, failures: Mapping[int, _Failure]) -> RankError | RestoreError:
        listing = "; ".join(f"rank {rank}: {theirs.message}" for rank, theirs in failures.items())
        kind = RestoreError if any(theirs.not_restored for theirs in failures.values()) else RankError
        error = kind(f"{self._what} failed on {listing}")
        setattr(error, _TOLD, True)
        return error

    @contextmanager
    def failing_together(self, agree: bool = False) -> Iterator[None]:
        """An exception inside is raised on every rank, on this one as it is, on others as `exchange` does.

        All ranks must come by here equally often, and what runs inside must exchange alike on all of them.

        Args:
            agree: Whether ranks tell each other at the end that all went well, where what is inside does not.
        """
        try:
            yield
            if agree:
                self.exchange(None)
        except Exception as error:
            self.tell(error)
            raise

    def tell(self, error: Exception) -> None:
        """Have every other rank fail where it next exchanges something, unless all know of this error already.

        Raises:
            RestoreError: In place of `error`, if the network of another rank is no longer what it was.
        """
        # What was told further in, by a matrix that failed, is known everywhere: nobody waits to hear it again.
        if self._lost or is_known_to_all(error):
            return
        with suppress(AttributeError):  # of an exception that takes none
            setattr(error, _TOLD, True)
        try:
            self.exchange(_Failure.of(error))
        except RestoreError as theirs:
            if not isinstance(error, RestoreError):
                raise theirs from error
        except Exception:
            pass  # the error at hand says more than whatever comes of telling it

    @contextmanager
    def leaving_together(self) -> Iterator[None]:
        """An exception inside is raised on every rank, however far each has come; none goes on before all have left.

        All ranks must come by here equally often, or `leave` in its place. What runs inside may exchange as often as it
        likes, and one that fails need not have exchanged as often as the others.
        """
        try:
            yield
        except Exception as error:
            self.leave(error)
            raise
        self.leave()

    def leave(self, error: Exception | None = None) -> None:
        """Do no more of what all do together, for `error` if there is one, and wait until all have left.

        Whoever still exchanges is told each time that this rank has left, until it leaves as well.

        Raises:
            RankError: If another rank left for an error that this one has not heard of, and there is no `error`.
            RestoreError: In place of either, if the network of another rank is no longer what it was.
        """
        if self.size == 1 or self._lost or getattr(error, _LEFT, False):
            return
        failure = None if error is None or is_known_to_all(error) else _Failure.of(error)
        everyone: list[Any] = []
        heard: dict[int, _Failure] = {}
        while {type(theirs) for theirs in everyone} != {_Left}:
            try:
                everyone = self._gathered(_Left(failure))
            except Exception as lost:
                if error is None:
                    raise _marked(lost)  # noqa: B904 - the very same
                break  # the error at hand says more
            failure = None
            heard |= _failures(everyone)
        heard.pop(self.rank, None)
        if error is not None:
            _marked(error)
        if heard:
            theirs = _marked(self._error(heard))
            if error is None or (isinstance(theirs, RestoreError) and not isinstance(error, RestoreError)):
                raise theirs from error

    def first(self, value: T) -> T:
        """What the first rank has, on every rank."""
        return self.exchange(value if self.rank == 0 else None)[0] if self.size > 1 else value  # type: ignore[return-value]

    def pairs(self, work: Callable[..., Found], first: Tensor, second: Tensor, *more: Tensor) -> Found:
        """Let every rank do its share of a list of pairs, and gather all.

        Shares are interleaved, since near and far pairs, which cost differently, lie together in the list.

        Args:
            work: Called as ``work(first, second, *more)`` with the pairs of this rank; gives one tensor or two,
                with a leading dimension of one entry per pair.
            first: ``(P,)`` first layers of all pairs, at least one.
            second: ``(P,)`` second layers.
            more: Further tensors with one entry per pair.

        Returns:
            What `work` gives for all pairs, on the device of `first`.
        """
        if self.size == 1:
            return work(first, second, *more)
        mine = slice(self.rank, None, self.size)
        share: list[Tensor] | Tensor | None = None
        if self.rank < len(first):
            found = work(first[mine], second[mine], *(values[mine] for values in more))
            share = [column.cpu() for column in found] if isinstance(found, tuple) else found.cpu()
        shares = self.exchange(share)[: len(first)]

        def whole(columns: list[Tensor]) -> Tensor:
            gathered = torch.empty(len(first), *columns[0].shape[1:], dtype=columns[0].dtype)
            for rank, column in enumerate(columns):
                gathered[rank :: self.size] = column
            return gathered.to(first.device)

        if isinstance(shares[0], list):  # the first rank always has a pair
            return tuple(whole(list(columns)) for columns in zip(*shares, strict=True))  # type: ignore[return-value]
        return whole(shares)  # type: ignore[arg-type, return-value]

    def agree(self, **facts: object) -> None:
        """Make sure that all ranks were called alike.

        Args:
            facts: What must be the same everywhere, as plain values or mappings of them.

        Raises:
            ValueError: On every rank, naming the ranks that differ from the first and what differs.
        """
        everyone = self.exchange(facts)
        differences = []
        for rank, theirs in enumerate(everyone[1:], start=1):
            for what in {**everyone[0], **theirs}:  # ranks may be at different places
                differences += _differences(what, rank, theirs.get(what, NOTHING), everyone[0].get(what, NOTHING))
        if differences:
            raise ValueError(
                "Every rank of the process group must ask for the same matrix, but "
                + "; ".join(differences[:LISTED])
                + (f"; and {len(differences) - LISTED} more." if len(differences) > LISTED else ".")
            )

    def same_matrices(self, names: Sequence[str], matrices: Sequence[Tensor] | Tensor) -> list[Tensor]:
        """The first rank's matrices, bit for bit, on every rank.

        Args:
            names: What each is called in an error.
            matrices: Float64 tensors of the same shapes on every rank. Nothing is sent where they are equal already.

        Raises:
            ValueError: On every rank, if they differ by more than rounding.
        """
        digests = self.exchange([digest(matrix) for matrix in matrices])
        differs = [any(theirs[k] != digests[0][k] for theirs in digests) for k in range(len(names))]
        same, far = [], {}
        for name, matrix, sent in zip(names, matrices, differs, strict=True):
            expected = self.first(matrix.cpu()).to(matrix.device) if sent else matrix
            scale = expected.square().mean().sqrt()
            if bool((matrix - expected).abs().max() > ROUNDING * scale):
                far[name] = float((matrix - expected).abs().max() / scale)
            same.append(expected)
        differences = [
            f"rank {rank} has other values in {name!r} than rank 0 (by up to {by:.2g} of their root mean square)"
            for rank, theirs in enumerate(self.exchange(far))
            for name, by in theirs.items()
        ]
        if differences:
            raise ValueError(
                "Every rank of the process group must pass the same representations, but "
                + "; ".join(differences[:LISTED])
                + ". Gather them over the ranks first, in the same order of inputs."
            )
        return same


def is_known_to_all(error: Exception) -> bool:
    """Whether every process that works together has heard of this error."""
    return getattr(error, _TOLD, False)


def _marked(error: Exception) -> Exception:
    """The error, marked as one that all know of and that nobody waits for."""
    with suppress(AttributeError):  # of an exception that takes none
        setattr(error, _TOLD, True)
        setattr(error, _LEFT, True)
    return error


def _failures(everyone: Sequence[Any]) -> dict[int, _Failure]:
    """Why ranks failed, of those that handed over a failure."""
    said = (theirs.failure if isinstance(theirs, _Left) else theirs for theirs in everyone)
    return {rank: theirs for rank, theirs in enumerate(said) if isinstance(theirs, _Failure)}


def digest(values: Tensor) -> str:
    """SHA-256 of the bytes of a tensor."""
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _differences(what: str, rank: int, theirs: Any, expected: Any) -> list[str]:
    """One phrase for every part of a fact in which a rank differs from the first."""
    if isinstance(theirs, Mapping) and isinstance(expected, Mapping):
        found = []
        for key in {**expected, **theirs}:
            found += _differences(f"{what} of {key!r}", rank, theirs.get(key, NOTHING), expected.get(key, NOTHING))
        return found
    return [] if theirs == expected else [f"rank {rank} has {what} {theirs}, rank 0 has {expected}"]
