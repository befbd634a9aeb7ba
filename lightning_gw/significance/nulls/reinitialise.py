"""Fresh weights for a live network's architecture: the networks that the re-initialisation null is made of."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gw.significance.nulls.architecture import check_same, listing, loads, not_drawn
from lightning_gw.significance.nulls.parametrizations import renormalise, reset_parametrised
from lightning_gw.utilities.random_state import isolated_randomness

#: `Reinitialiser.way` where every layer's weights are drawn anew by itself, whatever was done to them afterwards.
RESETS = "reset_parameters"
#: Stands in every parameter before the resets, so that what no reset reached can be told; no initialisation gives it.
UNTOUCHED = 0.73519
#: A parameter counts as reset if less than this share of it is untouched.
UNTOUCHED_SHARE = 0.01


class Reinitialiser:
    """Makes networks of a live module's architecture with fresh weights.

    Three ways, the first that works: ``build``, which the caller gave; the module's class called again with its saved
    hyperparameters (Lightning's ``save_hyperparameters``), which repeats whatever its ``__init__`` did; a copy of the
    module, every part of which draws its weights anew by the convention of torch (``reset_parameters`` or
    ``_reset_parameters``), by an ``_init_weights(module)`` of its own, or, within a Hugging Face model, as its config
    says. The last cannot repeat what an ``__init__`` did to the weights afterwards. A constructor that gives half of
    the trainable matrices, or more, the same values for different seeds loads them from somewhere, and is passed over.

    Parameters that no reset reaches stay as they are, and so do the few that a constructor makes the same every time;
    `notes` names them.

    Neither the module nor any global random state is changed. A reference to a Trainer is shared, never copied.

    Args:
        module: The live network.
        build: Returns a fresh network with the same parameters by name and shape.

    Attributes:
        way: Where fresh weights come from, in words.
        notes: What is not fresh, or could not be done a better way, in words.
        loads: Whether the module's constructor loads its weights instead of drawing them.
        resets: Names of the parameters that only a reset of their layers draws, which cannot repeat an initialisation
            of somebody's own.

    Raises:
        ValueError: If there are no fresh weights to be had; the message says what to do.

    Example:
        >>> from torch import nn
        >>> fresh = Reinitialiser(nn.Linear(3, 2))
        >>> fresh.way
        'reset_parameters'
        >>> fresh.draw(seed=1).weight.shape
        torch.Size([2, 3])
    """

    def __init__(self, module: nn.Module, build: Callable[[], nn.Module] | None = None) -> None:
        lazy = [name for name, p in module.named_parameters() if nn.parameter.is_lazy(p)]
        if lazy:
            raise ValueError(
                f"Parameter {lazy[0]!r} has no shape yet, so there is nothing to initialise. Run one batch through the "
                "network first."
            )
        if next(module.parameters(), None) is None:
            raise ValueError(f"{type(module).__name__} has no parameters, so there are no fresh weights to draw.")
        self._module = module
        self.loads = False
        self.resets: frozenset[str] = frozenset()
        notes: list[str] = []
        self._make: Callable[[], nn.Module]
        if build is not None:
            self._make, self.way = build, "built by build()"
            try:
                one, other = self._drawn(0), self._drawn(1)
            except Exception as error:
                raise ValueError(f"build() failed ({type(error).__name__}: {error}).") from error
            check_same(module, one, "build() returned a network")
            stuck = not_drawn(one, other, module)
            if loads(one, stuck):
                raise ValueError(
                    f"build() gives {listing(list(stuck))} the same values every time, so its networks are not fresh. "
                    "Let it draw weights from the global random state (it is seeded and put back around each call)."
                )
            if stuck:
                notes.append(f"build() gives {listing(list(stuck))} the same values every time; kept so.")
        elif (rebuild := _constructor(module)) is not None and self._is_fresh(rebuild, notes):
            self._make, self.way = rebuild, "rebuilt from hyperparameters"
        else:
            untouched = self._prepare_resets()
            self._make = self._reset_copy
            models = [child for child in module.modules() if _is_huggingface(child)]
            self.way = "transformers config" if models else RESETS
            inside = {id(p) for model in models for p in model.parameters()}
            self.resets = frozenset(name for name, p in module.named_parameters() if id(p) not in inside)
            if untouched:
                notes.append(f"Nothing re-initialises {listing(untouched)}; kept as now.")
        self.notes = tuple(notes)

    def draw(self, seed: int) -> nn.Module:
        """A network with fresh weights; the same for the same seed.

        Raises:
            ValueError: If `build` returned a network of another architecture.
        """
        fresh = self._drawn(seed)
        check_same(self._module, fresh, "A fresh network came out")
        _follow(self._module, fresh)
        return fresh

    def _drawn(self, seed: int) -> nn.Module:
        # A constructor may be called inside somebody's no_grad; fresh parameters are to be parameters all the same.
        with isolated_randomness(seed), torch.inference_mode(False), torch.enable_grad():
            return self._make()

    def _is_fresh(self, rebuild: Callable[[], nn.Module], notes: list[str]) -> bool:
        """Whether a constructor draws weights, rather than failing, loading them, or building something else."""
        self._make = rebuild
        try:
            one, other = self._drawn(0), self._drawn(1)
            check_same(self._module, one, "the constructor gives a network")
        except Exception as error:
            notes.append(f"Not rebuilt from its hyperparameters ({type(error).__name__}: {error}).")
            return False
        same = not_drawn(one, other, self._module)
        if loads(one, same):
            self.loads = True
            notes.append(
                f"Not rebuilt from its hyperparameters, since the constructor does not draw {listing(list(same))} but "
                "gives the same values every time: it loads them."
            )
            return False
        if same:
            notes.append(f"The constructor gives {listing(list(same))} the same values every time; kept so.")
        return True

    def _prepare_resets(self) -> list[str]:
        """Make sure that resets reach something; the names of the parameters that none reaches."""
        try:
            with isolated_randomness(0):
                fresh = _detached_copy(self._module)
                untouched = _reset(fresh)
        except Exception as error:
            raise ValueError(
                f"{type(self._module).__name__} could not be copied and re-initialised ({type(error).__name__}: "
                f"{error}). Give a function that returns a fresh network: build=lambda: {type(self._module).__name__}"
                "(...)."
            ) from error
        if len(untouched) == sum(1 for _ in self._module.named_parameters()):
            raise ValueError(
                f"Nothing in {type(self._module).__name__} can be re-initialised: no part has reset_parameters, and "
                "its hyperparameters were not saved. Give a function that returns a fresh network: build=lambda: "
                f"{type(self._module).__name__}(...)."
            )
        return untouched

    def _reset_copy(self) -> nn.Module:
        fresh = _detached_copy(self._module)
        live = dict(self._module.named_parameters())
        untouched = _reset(fresh)
        with torch.no_grad():
            parameters = dict(fresh.named_parameters())
            for name in untouched:
                parameters[name].copy_(live[name])
        return fresh


def reinitialised(module: nn.Module, seed: int = 0, build: Callable[[], nn.Module] | None = None) -> nn.Module:
    """A network of the module's architecture with fresh weights; see `Reinitialiser`, which also says how it was done.

    Args:
        module: The live network, which is not changed.
        seed: The same seed gives the same weights.
        build: Returns a fresh network with the same parameters by name and shape.

    Raises:
        ValueError: If there are no fresh weights to be had; the message says what to do.
    """
    return Reinitialiser(module, build).draw(seed)


def _constructor(module: nn.Module) -> Callable[[], nn.Module] | None:
    """Calls the module's class with its saved hyperparameters; None where it saved none."""
    saved = getattr(module, "hparams", None)
    if not saved:
        return None
    given = dict(saved)
    through = given.pop("_instantiator", None)  # how LightningCLI, which saves configs, makes objects of them
    signature = inspect.signature(type(module).__init__).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.values())
    if not takes_any and through is None:
        given = {name: value for name, value in given.items() if name in signature}

    def rebuild() -> nn.Module:
        # Hyperparameters that are modules or lists would otherwise be shared with the live network.
        arguments = copy.deepcopy(given)
        if through is None:
            return type(module)(**arguments)
        where, _, name = str(through).rpartition(".")
        return getattr(importlib.import_module(where), name)(type(module), arguments)

    return rebuild


def _detached_copy(module: nn.Module) -> nn.Module:
    """A deep copy that shares nothing with the module but its Trainer, and of which nothing is compiled."""
    memo: dict[int, Any] = {}
    for child in module.modules():
        for name, value in vars(child).items():
            if name in ("_trainer", "_fabric", "_compiler_ctx") and value is not None:
                memo[id(value)] = value
            elif isinstance(value, Tensor) and not value.is_leaf:  # deepcopy refuses results of a computation
                memo[id(value)] = value.detach().clone()
    copied = copy.deepcopy(module, memo)
    for child in copied.modules():
        _uncompile(child)
    return copied


def _uncompile(module: nn.Module) -> None:
    """Take out of a copy what was compiled, which runs the live network whoever calls it.

    Raises:
        ValueError: If a method that was compiled is not that of the module's class.
    """
    vars(module).pop("_compiled_call_impl", None)
    compiled = vars(module).get("_compiler_ctx") or {}  # what Lightning keeps of each method beside the compiled one
    for name, original in compiled.items():
        if (method := name.removeprefix("original_")) == name:
            continue
        if getattr(original, "__func__", None) is not getattr(type(module), method):
            raise ValueError(f"its {method} was replaced before it was compiled")
        vars(module).pop(method, None)
    if compiled:
        vars(module)["_compiler_ctx"] = None


def _reset(module: nn.Module) -> list[str]:
    """Draw all weights of a module anew, parts before the whole; the names of the parameters that nothing reached."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                parameter.fill_(UNTOUCHED)
    for child in reversed(list(module.modules())):
        vars(child).pop("_is_hf_initialized", None)  # else Hugging Face takes it for done
        reset = getattr(child, "reset_parameters", None) or getattr(child, "_reset_parameters", None)
        if callable(reset) and not _required(reset):
            reset_parametrised(child, reset)
            renormalise(child)
        if _is_huggingface(child):
            initialise = getattr(child, "initialize_weights", None) or child.init_weights
            initialise()  # type: ignore[operator]
        elif callable(each := getattr(child, "_init_weights", None)) and len(_required(each)) == 1:
            child.apply(each)
    return [
        name
        for name, parameter in module.named_parameters()
        if not parameter.is_floating_point()
        or bool((parameter == torch.tensor(UNTOUCHED, dtype=parameter.dtype)).float().mean() > UNTOUCHED_SHARE)
    ]


def _follow(module: nn.Module, fresh: nn.Module) -> None:
    """Give a fresh network the devices, types, modes and Trainer of the live one."""
    live, buffers, modules = (
        dict(module.named_parameters()),
        dict(module.named_buffers()),
        dict(module.named_modules(remove_duplicate=False)),
    )
    for name, parameter in fresh.named_parameters():
        like = live[name]
        if (parameter.device, parameter.dtype) != (like.device, like.dtype):
            parameter.data = parameter.data.to(like)
        parameter.requires_grad_(like.requires_grad)
    for name, buffer in fresh.named_buffers():
        if name in buffers and buffer.device != buffers[name].device:
            buffer.data = buffer.data.to(buffers[name].device)
    for name, child in fresh.named_modules(remove_duplicate=False):
        if name in modules:
            child.training = modules[name].training
            for reference in ("_trainer", "_fabric"):
                if reference in vars(child):
                    vars(child)[reference] = vars(modules[name]).get(reference)


def _required(function: Callable[..., Any]) -> list[str]:
    """Arguments that must be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind in positional]


def _is_huggingface(module: nn.Module) -> bool:
    """Whether it is a model of transformers; asked of its classes, since transformers need not be installed."""
    return any(
        c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.") for c in type(module).__mro__
    )
