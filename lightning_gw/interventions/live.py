"""Where the groups come from that a callback acts on: a history on disk, or the looks of the same training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import nn

from lightning_gw.activations.layers.names import named_layers
from lightning_gw.export.names import places_of
from lightning_gw.groups.choice import Choice, NoGroupError, choose_group
from lightning_gw.records.history import load_history
from lightning_gw.records.record import Record
from lightning_gw.utilities.calls import module_of
from lightning_gw.utilities.errors import near_names, reason_of, sentence


def watcher_of(strategy: Any, trainer: Any) -> Any:
    """The `GWSimilarity` of a Trainer, told by what it offers.

    Raises:
        ValueError: If there is none.
    """
    for callback in trainer.callbacks:
        if all(hasattr(callback, name) for name in ("history", "last_look", "analysis_config")):
            return callback
    raise ValueError(
        f"{type(strategy).__name__} acts on what GWSimilarity finds in the same training, and the Trainer has none. "
        "Add callbacks=[GWSimilarity(every_n_steps=...), ...], or give another run's history where that can be given."
    )


def recorded(folder: str | Path, module: nn.Module) -> Record:
    """The last look of a run, whose layers are those of this network.

    Raises:
        ValueError: If there is no look, a layer is not in the network, or a list of layers goes on behind those that
            were looked at; the message names it.
    """
    history = load_history(folder)
    if not history:
        raise ValueError(f"{folder} holds no look.")
    known = named_layers(module)
    unknown = [layer for layer in history[-1].layers if module_of(layer) not in known]
    if unknown:
        lacking = f"has no {', '.join(map(repr, unknown[:3]))}" + (", …" if len(unknown) > 3 else "")
        of = f"({len(unknown)} of its {len(history[-1].layers)} layers)"
        raise ValueError(
            sentence(
                f"The history in {folder} is of another model: {type(module).__name__} {lacking} {of}.",
                near_names(unknown[0], known),
            )
        )
    _compare_lists(history[-1].layers, known, f"The history in {folder}", type(module).__name__)
    return history[-1]


def _compare_lists(layers: Sequence[str], known: Mapping[str, nn.Module], history: str, network: str) -> None:
    """Refuse a history that ends before the network does, and name layers inside that it leaves out."""
    for holder, looked in places_of([module_of(layer) for layer in layers])[0].items():
        kinds = {type(known[f"{holder}.{number}"]) for number in looked}
        listed = places_of([name for name in known if type(known[name]) in kinds])[0][holder]
        if listed[-1] > looked[-1]:
            raise ValueError(
                f"{history} is of another model, or of a part: of {holder!r} it has layers up to {looked[-1]}, and "
                f"{network} has them up to {listed[-1]}. Look at all of them."
            )
        if lacking := sorted(set(range(looked[0], looked[-1])) & set(listed) - set(looked)):
            rank_zero_warn(
                f"{history} says nothing of {', '.join(f'{holder}.{number}' for number in lacking)}, which were not "
                "looked at and stay as they are."
            )


def choose_from(record: Record, group: str | int, control: int | None, anyway: bool) -> Choice:
    """A group of a look, or a random block in its place; see `choose_group` and `Choice.control`."""
    choice = choose_group(record.groups, record.layers, group, record.growth, anyway)
    return choice if control is None else choice.control(control)


def modules_of(module: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """The modules of layers, each once; a call of a module, ``name#2``, is all of it."""
    named = named_layers(module)
    return list({id(layer): layer for layer in (named[module_of(name)] for name in names)}.values())


def freeze(module: nn.Module, layers: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Freeze the parameters of layers, but for those that they share with the rest of the network.

    Statistics that layers gather, as batch normalisations do, go on being gathered: what comes into frozen layers may
    still change, and evaluation is to go by it.

    Returns:
        What trained before and does not any more.
    """
    inside = {id(child) for layer in layers for child in layer.modules()}
    others = [child for child in module.modules() if id(child) not in inside]
    elsewhere = {id(parameter) for child in others for parameter in child.parameters(recurse=False)}
    trained = dict.fromkeys(p for layer in layers for p in layer.parameters() if p.requires_grad)
    frozen = [p for p in trained if id(p) not in elsewhere]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def release(trainer: Trainer, parameters: Iterable[nn.Parameter]) -> int:
    """Drop the gradients of frozen parameters and what optimizers remember of them, so that no step moves them.

    They stay in their groups, so that a checkpoint fits the optimizers that a resumed run makes.

    Returns:
        Bytes of the optimizers' state that were released.
    """
    released = 0
    for parameter in parameters:
        parameter.grad = None
        for optimizer in trainer.optimizers:
            for value in optimizer.state.pop(parameter, {}).values():
                released += value.numel() * value.element_size() if hasattr(value, "element_size") else 0
    return released


def refuse_rivals(strategy: Any, trainer: Any) -> None:
    """Allow one callback that says what trains.

    Raises:
        ValueError: If there is another `BaseFinetuning`, or another callback of these.
    """
    for other in trainer.callbacks:
        kinds = {kind.__name__ for kind in type(other).__mro__}
        if other is not strategy and kinds & {"BaseFinetuning", "FreezeSettledGroups", "DropLayers"}:
            raise ValueError(
                f"{type(strategy).__name__} and {type(other).__name__} would both say what trains, and undo each "
                "other. Use one of them."
            )


def refuse_unprepared(strategy: Any, trainer: Any) -> None:
    """Ask for a strategy and optimizers that bear a parameter ceasing to train underway.

    Raises:
        ValueError: If gradients are gathered from all parameters that trained at the start, or an optimizer moves
            parameters that have none.
    """
    found = getattr(trainer.strategy, "_ddp_kwargs", None)
    if trainer.world_size > 1 and (found is None or not found.get("find_unused_parameters", False)):
        raise ValueError(
            f"{type(strategy).__name__} changes underway what trains, which several processes must be told of: pass "
            "Trainer(strategy='ddp_find_unused_parameters_true')."
        )
    for optimizer in trainer.optimizers:
        if type(optimizer).__name__ == "LBFGS":
            raise ValueError(
                f"{type(strategy).__name__} cannot be used with LBFGS, which goes on moving parameters that are frozen."
            )


def share_of_steps(strategy: Any, trainer: Trainer, at: float) -> int:
    """The optimizer step that a share of the training comes to.

    Raises:
        ValueError: If nobody knows how long the training is.
    """
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ValueError(f"{type(strategy).__name__} acts after a share of the steps there are: set trainer.max_steps.")
    return round(at * steps)


def decided_by_first(trainer: Trainer, decide: Callable[[], Any]) -> Any:
    """What the first process decides, on all of them; only it has the history.

    Returns:
        The decision; or why there is no group to act on, in words.

    Raises:
        Exception: What `decide` raised, on the first process; on the others a RuntimeError that says the same.
    """
    decision: Any = None
    failure: Exception | None = None
    if trainer.is_global_zero:
        try:
            decision = decide()
        except NoGroupError as error:
            decision = str(error)
        except Exception as error:  # the other processes wait for an answer
            failure = error
    problem = None if failure is None else reason_of(failure)
    decision, problem = trainer.strategy.broadcast((decision, problem))
    if problem is not None:
        raise failure or RuntimeError(problem)
    return decision


def last_look_of(watcher: Any) -> Record:
    """The last look of a `GWSimilarity` that is solved.

    Raises:
        NoGroupError: If there is none yet.
    """
    if not watcher.history:
        raise NoGroupError("There has been no look yet that says what the groups are. Look earlier, or act later.")
    last: Record = watcher.history[-1]
    return last


def check_share(at: float) -> float:
    """Refuse what is no share.

    Raises:
        ValueError: If it is below 0 or not below 1.
    """
    if not 0 <= at < 1:
        raise ValueError(f"at={at} must be a share of the training, from 0 to below 1.")
    return at
