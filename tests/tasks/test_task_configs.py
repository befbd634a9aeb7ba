"""The shipped configs: each can be read, and each strategy reaches what it is shown for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the language task needs the extra `tasks`")

from lightning_gw.compare.plan import leading_comment
from lightning_gw.lightning_cli.fit import FitCLI, check
from lightning_gw.lightning_cli.options import read_yaml
from tasks import strategies

CONFIGS = Path(__file__).parents[2] / "configs"
ALGEBRA = ("stage_supervised", "stage_end", "greedy", "end_to_end")
LANGUAGE = ("full", "freeze_lower", "train_lower")
#: How a language model is fine-tuned: all of it, by adapters, a block of it, with layers frozen or taken away.
ON_LANGUAGE_MODELS = ("full", "lora", "train_block", "train_group", "freeze_lower", "freeze_settled", "drop_interior")
STRATEGIES = sorted(path.stem for path in (CONFIGS / "strategies").glob("*.yaml"))
#: Those that act on groups, with callbacks of the package itself, and the control of each: the same at random.
ON_GROUPS = {
    "freeze_settled": "freeze_random",
    "train_group": "train_random_block",
    "drop_interior": "drop_random_block",
}
ON_GROUPS |= {control: own for own, control in ON_GROUPS.items()}
#: Strategies that need a network that was trained before.
PRETRAINED = {"from_scratch"}


def config_options(task: str, strategy: str) -> list[str]:
    return ["-c", str(CONFIGS / f"{task}.yaml"), "-c", str(CONFIGS / "strategies" / f"{strategy}.yaml")]


@pytest.mark.parametrize(
    ("task", "strategy"),
    [
        *(("algebra", name) for name in STRATEGIES if name not in PRETRAINED),
        *(("language", name) for name in (*LANGUAGE, "from_scratch")),
        *((task, "end_to_end") for task in ("algebra_transformer", "algebra_grokking")),
        *((task, "full") for task in ("language_hub", "vision_convnet", "vision_transformer", "vision_pretrained")),
        *((task, name) for task in ("language_model", "language_model_sentiment") for name in ON_LANGUAGE_MODELS),
    ],
)
@pytest.mark.representatives(
    "algebra-full", "language-full", "vision_pretrained-full", "language_model_sentiment-train_block"
)
def test_config_can_be_read(task, strategy):
    check(config_options(task, strategy))


def test_every_strategy_asks_a_question_and_has_a_config():
    assert len(STRATEGIES) == len(strategies.__all__) + len(ON_GROUPS)
    for name in STRATEGIES:
        question = leading_comment(CONFIGS / "strategies" / f"{name}.yaml")
        assert question.endswith("?"), name
        assert question.count("?") == 1, name


@pytest.mark.parametrize("own", [name for name in ON_GROUPS if "random" not in name])
def test_a_control_differs_from_what_it_controls_by_its_seed_alone(own):
    first, control = (read_yaml(CONFIGS / "strategies" / f"{name}.yaml") for name in (own, ON_GROUPS[own]))
    arguments = control["trainer"]["callbacks+"][0]["init_args"]
    assert arguments.pop("control") == 0
    assert first == control


def train(task: str, strategy: str, seed: int, folder: Path, *more: str) -> FitCLI:
    options = [f"--seed_everything={seed}", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    return FitCLI.run([*config_options(task, strategy), *options, f"--run_dir={folder}", *more])


@pytest.fixture
def run_dir(tmp_path) -> Iterator[Path]:
    """A folder that is emptied afterwards: checkpoints of the encoder take 270 MB each."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_strategy_is_added_to_the_callbacks_of_the_base(tmp_path):
    short = ("--trainer.max_steps=4", "--trainer.val_check_interval=4")
    cli = train("algebra", "greedy", 0, tmp_path, *short)
    names = [type(callback).__name__ for callback in cli.trainer.callbacks]
    assert {"GWSimilarity", "ModelCheckpoint", "Greedy"} <= set(names)
    assert cli.trainer.global_step == 4
    assert cli.model.supervision == {1: 0, 5: 1, 8: 2}  # the last phase was reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("strategy", "targets"),
    [
        ("stage_supervised", {1: 0.99, 2: 0.99, 3: 0.99}),
        ("stage_end", {1: 0.99, 2: 0.99, 3: 0.99}),
        ("greedy", {1: 0.93, 2: 0.93, 3: 0.93}),
        ("end_to_end", {3: 0.99}),
    ],
)
def test_algebra_is_learnt(strategy, targets, seed, run_dir):
    metrics = train("algebra", strategy, seed, run_dir).trainer.callback_metrics
    reached = {stage: float(metrics[f"val/accuracy_stage{stage}"]) for stage in targets}
    assert all(reached[stage] >= target for stage, target in targets.items()), reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("strategy", LANGUAGE)
def test_tweets_are_told_apart_better_than_by_the_majority(strategy, seed, run_dir):
    metrics = train("language", strategy, seed, run_dir).trainer.callback_metrics
    assert metrics["val/accuracy"] >= metrics["val/majority"] + 0.04
