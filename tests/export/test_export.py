"""Groups in the forms of other tools, each loaded by the tool where it is installed, with an eye on both ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from lightning_gw.export import ExportError, to_mergekit, to_patterns, to_peft
from lightning_gw.groups import Groups, NoGroupError, find_groups

NAMES = ("model.embed_tokens", *(f"model.layers.{k}" for k in range(12)))


def groups_of(*boundaries: int, layers: int = len(NAMES), **changes: Any) -> Groups:
    """Strong groups that end after these layers, counted from 0."""
    depth = np.cumsum([0, *(9.0 if k in boundaries else 1.0 for k in range(layers - 1))])
    found = find_groups(
        abs(np.subtract.outer(depth, depth)), reference=abs(np.subtract.outer(*[np.arange(layers)] * 2))
    )
    assert (found.boundaries, found.strength) == (boundaries, "strong")
    return replace(found, **changes)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.q_proj(self.norm(x))


class Model(nn.Module):
    """Named as a decoder of Hugging Face: two digits in some indices, and a list beside that is no list of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(5, 4)
        self.model.layers = nn.ModuleList(Layer() for _ in range(12))
        self.heads = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))


def adapted(arguments: dict[str, Any]) -> dict[int, int]:
    """Which layers peft adapts, and with which rank."""
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(Model(), peft.LoraConfig(r=2, **arguments))
    found: dict[int, int] = {}
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            assert ".heads." not in name
            match = re.search(r"\.layers\.(\d+)\.q_proj", name)
            assert match, name
            found[int(match[1])] = parameter.shape[0]
    return found


@pytest.mark.parametrize(
    ("which", "indices"),
    [("last", [9, 10, 11]), (1, [0, 1]), (2, [2, 3, 4, 5, 6, 7, 8]), ("largest", [2, 3, 4, 5, 6, 7, 8])],
)
def test_peft_adapts_exactly_the_layers_of_the_group(which: str | int, indices: list[int]) -> None:
    choice = groups_of(2, 9).choose(NAMES, which)
    assert adapted(choice.export("peft", targets=["q_proj"])) == dict.fromkeys(indices, 2)
    everywhere = adapted(choice.export("peft", targets=["q_proj"], rank=3))
    assert everywhere == {k: 3 if k in indices else 2 for k in range(12)}


def test_peft_tells_lists_of_the_same_name_apart() -> None:
    names = [f"{half}.layers.{k}" for half in ("encoder", "decoder") for k in range(3)]
    assert to_peft(names[3:5], names)["layers_pattern"] == r"decoder\.layers"
    across = to_peft(names[2:4], names, targets=["q_proj"])["target_modules"]
    matched = [name for name in names if re.fullmatch(across, f"base.{name}.q_proj")]
    assert matched == names[2:4]
    with pytest.raises(ExportError, match=r"these are in encoder.layers, decoder.layers.*--targets"):
        to_peft(names[2:4], names)
    with pytest.raises(ExportError, match=r"model.embed has none"):
        to_peft(["model.embed"], names)


class Bare(nn.Module):
    """Its list of layers is held by no module; another ends in the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(12))
        self.other = nn.Module()
        self.other.layers = nn.ModuleList(Layer() for _ in range(12))


def test_peft_finds_layers_of_a_list_that_no_module_holds() -> None:
    peft = pytest.importorskip("peft")
    names = [f"{holder}layers.{k}" for holder in ("", "other.") for k in range(12)]
    for arguments in (to_peft(names[9:12], names, targets=["q_proj"]), to_peft(names[9:12], names, ["q_proj"], rank=3)):
        model = peft.get_peft_model(Bare(), peft.LoraConfig(r=2, **arguments))
        ranks = {name: p.shape[0] for name, p in model.named_parameters() if "lora_A" in name}
        wanted = 2 if "rank_pattern" not in arguments else 3
        found = {name.split(".lora_A")[0] for name, rank in ranks.items() if rank == wanted}
        assert found == {f"base_model.model.layers.{k}.q_proj" for k in (9, 10, 11)}
    (key,) = arguments["rank_pattern"]
    for form in (rf".*\.{key}$", rf"(.*\.)?({key})$"):  # as peft matched before 0.15, and since
        assert [name for name in names if re.match(form, f"{name}.q_proj")] == names[9:12], form
    with pytest.raises(ExportError, match=r"one list that is inside a module, and these are in layers\..*--targets"):
        to_peft(names[9:12], names)


def test_patterns_match_the_parameters_of_the_group_and_no_others() -> None:
    parameters = [name for name, _ in Model().named_parameters()]
    patterns = groups_of(2, 9).choose(NAMES, 1).export("patterns")
    matched = [name for name in parameters if any(re.match(pattern, name) for pattern in patterns)]
    assert matched == [name for name in parameters if re.match(r"model\.(embed_tokens|layers\.[01])\.", name)]
    assert to_patterns(["a.b+c"]) == [r"^a\.b\+c\..*"]


def test_finetuning_scheduler_thaws_the_group_first_and_each_parameter_once(tmp_path: Path) -> None:
    schedule = groups_of(2, 9).choose(NAMES, 2).export("finetuning-scheduler", also=[r"heads\..*"])
    parameters = [name for name, _ in Model().named_parameters()]
    phases = {
        number: [name for name in parameters if any(re.match(pattern, name) for pattern in phase["params"])]
        for number, phase in schedule.items()
    }
    assert sorted(name for names in phases.values() for name in names) == sorted(parameters)
    assert {int(name.split(".")[2]) for name in phases[0] if name.startswith("model.layers")} == set(range(2, 9))
    assert {int(name.split(".")[2]) for name in phases[1]} == {9, 10, 11}
    assert phases[2][0] == "model.embed_tokens.weight"


def test_a_control_has_phases_like_the_groups() -> None:
    choice = groups_of(2, 9).choose(NAMES, 2)
    for seed in range(5):
        control = choice.control(seed)
        assert [len(part) for part in control.others] == [3, 3]
        assert sorted([*control.members, *control.others[0], *control.others[1]]) == list(range(13))
        assert list(control.export("finetuning-scheduler")) == list(choice.export("finetuning-scheduler"))


def test_finetuning_scheduler_itself_takes_the_schedule(tmp_path: Path) -> None:
    scheduler = pytest.importorskip("finetuning_scheduler", reason="finetuning-scheduler is not installed")
    import lightning.pytorch as pl

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Model()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            x = batch[0]
            for layer in self.net.model.layers:
                x = layer(x)
            return self.net.heads[0](x).square().mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", self.training_step(batch, index))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 1e-3)

    names = tuple(f"net.{name}" for name in NAMES)
    schedule = groups_of(2, 9).choose(names, "last").export("finetuning-scheduler", also=[r"net\.heads\.0\..*"])
    for number, phase in schedule.items():
        phase["max_transition_epoch"] = number + 1  # when to go on is the user's to say
    file = tmp_path / "schedule.yaml"
    file.write_text(yaml.safe_dump(schedule))
    seen: list[set[int]] = []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
            seen.append({int(found[1]) for name in trained if (found := re.match(r"net\.model\.layers\.(\d+)", name))})

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 4)), batch_size=4)
    tuning = scheduler.FinetuningScheduler(ft_schedule=str(file), epoch_transitions_only=True)
    pl.Trainer(
        max_epochs=3,
        logger=False,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[tuning, Watch()],
    ).fit(Net(), data, data)
    assert seen == [{9, 10, 11}, set(range(2, 12)), set(range(12))]


def kept(config: dict[str, Any]) -> list[int]:
    ranges = [part["sources"][0]["layer_range"] for part in config["slices"]]
    return [layer for start, end in ranges for layer in range(start, end)]


@pytest.mark.parametrize(
    ("which", "gone"), [("last", [10, 11]), (2, [3, 4, 5, 6, 7, 8]), (1, [0, 1])], ids=["top", "middle", "bottom"]
)
def test_mergekit_keeps_all_but_the_interior(which: str | int, gone: list[int]) -> None:
    config = groups_of(2, 9).choose(NAMES, which).export("mergekit", model="some/model")
    assert kept(config) == [k for k in range(12) if k not in gone]


def test_mergekit_itself_takes_the_config() -> None:
    mergekit = pytest.importorskip("mergekit.config", reason="mergekit is not installed")
    config = groups_of(2, 9).choose(NAMES, "last").export("mergekit", model="some/model")
    loaded = mergekit.MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(config)))
    assert [tuple(part.sources[0].layer_range) for part in loaded.slices] == [(0, 10)]
    assert [str(model) for model in loaded.referenced_models()] == ["some/model"]


def test_mergekit_refuses_what_it_cannot_say() -> None:
    names = [f"layers.{k}" for k in range(4)]
    with pytest.raises(ExportError, match="whole network"):
        to_mergekit(names, names, "m")
    with pytest.raises(ExportError, match=r"those with the indices \[1, 2, 3\]"):
        to_mergekit(names[2:3], names[1:], "m")
    with pytest.raises(ExportError, match="there are none"):
        to_mergekit([], names, "m")


def test_names_inside_a_part_of_the_module() -> None:
    names = tuple(f"net.{name}" for name in NAMES)
    choice = groups_of(2, 9).choose(names, "last")
    assert choice.export("patterns", inside="net") == [r"^model\.layers\.(?:9|10|11)\..*"]
    with pytest.raises(ExportError, match=r"'net.model.layers.9' is not inside 'other'"):
        choice.export("patterns", inside="other")


def test_a_module_called_several_times_is_whole_or_refused() -> None:
    names = ("embed", "block", *(f"block#{k}" for k in range(2, 13)))
    with pytest.raises(ExportError, match="one of several calls"):
        groups_of(2, 9).choose(names, "last").export("patterns")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strength": "weak"}, "the groups of this look are weak"),
        ({"stability": (1.0, 0.3)}, "boundary after layer 10 returned in only 30% of probe resamples"),
        ({"built_in": (9,)}, "boundary after layer 10 is built in"),
    ],
)
def test_doubtful_groups_are_refused_unless_anyway(changes: dict[str, Any], reason: str) -> None:
    groups = groups_of(2, 9, **changes)
    with pytest.raises(NoGroupError, match=f"Group 3 .*{reason}.*--anyway"):
        groups.choose(NAMES, "last")
    assert reason in groups.choose(NAMES, "last", anyway=True).doubts[0]


def test_doubts_about_other_groups_do_not_count() -> None:
    assert groups_of(2, 9, stability=(0.1, 1.0), built_in=(2,)).choose(NAMES, "last").doubts == ()


def test_without_groups_there_is_nothing_to_choose() -> None:
    drift = abs(np.subtract.outer(np.arange(13.0), np.arange(13.0)))
    for anyway in (False, True):
        with pytest.raises(NoGroupError, match="only the whole network"):
            find_groups(drift).choose(NAMES, anyway=anyway)
    with pytest.raises(NoGroupError, match="no group 4: there are groups 1 to 3"):
        groups_of(2, 9).choose(NAMES, 4)
    with pytest.raises(ValueError, match="none of last, largest, changed-most"):
        groups_of(2, 9).choose(NAMES, "first")


def test_what_changed_most_is_told_by_growth_inside_groups() -> None:
    growth = np.ones(12)
    growth[5] = 0.2  # between the sixth layer and the seventh, in the second group
    growth[9] = 50.0  # a boundary is no group's
    assert groups_of(2, 9).choose(NAMES, "changed-most", growth).members[0] == 3
    with pytest.raises(NoGroupError, match="what changed"):
        groups_of(2, 9).choose(NAMES, "changed-most")
    with pytest.raises(NoGroupError, match="Nothing changed since the first look"):
        groups_of(2, 9).choose(NAMES, "changed-most", np.ones(12))


def test_a_control_has_as_many_layers_and_is_another_block() -> None:
    choice = groups_of(2, 9).choose(NAMES, "last")
    drawn = {choice.control(seed).members for seed in range(40)}
    assert choice.members not in drawn
    assert {len(block) for block in drawn} == {3}
    assert len(drawn) > 4
    assert min(block[0] for block in drawn) == 1, "the embedding is in no list"
    assert choice.control(3).members == choice.control(3).members
    assert "random block (seed 3)" in choice.control(3).said
