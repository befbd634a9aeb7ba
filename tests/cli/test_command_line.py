"""The command line: quick help, errors in sentences, and `fit` on a module of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_records import example_history_records, example_record

from lightning_gw.cli import main
from lightning_gw.loggers.charts import CHARTS
from lightning_gw.records.history import History, load_history

_CODE = """
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    def __init__(self, width: int = 5, lr: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2))
        self.lr = lr

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


class Data(LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(16, 3)
        return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4)
"""

BASE = {
    "model": {"class_path": "my_net.Net"},
    "data": {"class_path": "my_net.Data"},
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 4,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [
            {"class_path": "lightning_gw.GWSimilarity", "init_args": {"layers": ["layers.*"], "probe_size": 8}},
            {"class_path": "ModelCheckpoint", "init_args": {"save_last": True}},
        ],
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of one's own and its config, in which the command is given."""
    (tmp_path / "my_net.py").write_text(_CODE)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    # fit seeds through the environment; the change must not outlive the test.
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that cannot be used prints."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("lightning-gw: ")
    return output.err


def test_help_and_its_subcommands_load_nothing_heavy() -> None:
    heavy = "torch", "pytorch_lightning", "numpy", "wandb", "matplotlib", "plotly", "jsonargparse", "rich"
    code = f"""
import sys
from lightning_gw.cli import main
for words in (["--help"], ["compare", "--help"], ["report", "--help"], ["--version"]):
    try:
        main(words)
    except SystemExit as done:
        assert done.code == 0, done.code
loaded = set({heavy!r}) & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(f"\n    {command} " in done.stdout for command in ("fit", "compare", "report"))


@pytest.mark.slow
def test_a_page_is_made_without_lightning_which_takes_seconds_to_import() -> None:
    code = (
        "import lightning_gw.report.command, sys; assert not {'pytorch_lightning', 'torchmetrics'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "lightning_gw", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("lightning-gw ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "required"),
        (("comapre", "x.yaml"), "choose from 'fit', 'compare', 'report'"),
        (("compare", "x.yaml", "--wrokers", "2"), "Near names: --workers"),
        (("compare", "x.yaml", "--wandb", "of"), "choose from 'offline', 'online', 'disabled'"),
        (("compare", "x.yaml", "--workers", "two"), "invalid int value"),
        (("compare", "bast.yaml"), "bast.yaml does not exist. Near names: base.yaml."),
        (("report", "nowhere"), "nowhere does not exist"),
        (("report", "."), "history"),
    ],
)
def test_a_wrong_command_is_answered_in_a_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in complaint(capsys, *arguments)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("trainer: {max_stpes: 3}", "extra.yaml: 'trainer.max_stpes' is no option"),
        ("trainer: {max_stpes: 3}", "Near names: trainer.max_steps"),
        ("modle: {class_path: my_net.Net}", "Near names: model."),
        (
            "model: {init_args: {widht: 3}}",
            "extra.yaml: model: 'widht' is no parameter of my_net.Net. Near names: width.",
        ),
        ("model: {widht: 3, class_path: my_net.Net}", "'widht' cannot stand beside class_path my_net.Net"),
        ("model: {class_path: my_net.Ned}", "my_net has no class 'Ned'. Near names: Net"),
        ("model: {class_path: my_nett.Net}", "no module named 'my_nett'. Near names: my_net."),
        (
            "trainer: {callbacks+: [{class_path: lightning_gw.GWSimilarity, init_args: {layer: [a]}}]}",
            "'layer' is no parameter of lightning_gw.GWSimilarity. Near names: layers",
        ),
        ("trainer: {max_steps: many}", "extra.yaml: trainer.max_steps: Expected a <class 'int'>. Got value: many"),
        ("model: {init_args: {width: wide}}", "extra.yaml: model: my_net.Net: "),
        ("trainer: [", "extra.yaml is no valid YAML"),
    ],
)
def test_a_wrong_config_is_answered_with_its_file_and_near_names(
    here: Path, capsys: pytest.CaptureFixture[str], config: str, expected: str
) -> None:
    (here / "extra.yaml").write_text(config)
    assert expected in complaint(capsys, "fit", "-c", "base.yaml", "--config=extra.yaml")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--trainer.max_stpes=3", "The command line: 'trainer.max_stpes' is no option"),
        ("--model.widht=3", "'widht' is no parameter of my_net.Net. Near names: width."),
        ("--model.init_args.widht=3", "Near names: width."),
        ("--sead_everything=3", "Near names: seed_everything."),
        ("--config=bass.yaml", "Config file bass.yaml does not exist. Near names: base.yaml."),
    ],
)
def test_a_wrong_option_is_answered_with_near_names(
    here: Path, capsys: pytest.CaptureFixture[str], option: str, expected: str
) -> None:
    assert expected in complaint(capsys, "fit", "-c", "base.yaml", option)


def test_fit_trains_a_module_of_ones_own_into_one_folder(here: Path) -> None:
    arguments = ["fit", "-c", "base.yaml", "--run_dir=kept", "--seed_everything=3", "--model.width=7"]
    assert main([*arguments, "--trainer.callbacks+=LearningRateMonitor", "--trainer.logger=CSVLogger",
                 "--trainer.logger.save_dir=logs"]) == 0  # fmt: skip
    assert [record.step for record in load_history(here / "kept")] == [0, 4]
    assert (here / "kept/checkpoints/last.ckpt").is_file()
    saved = yaml.safe_load((here / "kept/config.yaml").read_text())
    assert saved["model"]["init_args"]["width"] == 7
    assert saved["seed_everything"] == 3
    assert len(saved["trainer"]["callbacks"]) == 3

    # The saved config alone repeats the run, elsewhere when told so.
    saved_again = ["fit", "-c", "kept/config.yaml", "--run_dir=again"]
    placed = saved["trainer"]["callbacks"]
    placed[0]["init_args"]["save_dir"] = placed[1]["init_args"]["dirpath"] = None
    (here / "kept/config.yaml").write_text(yaml.safe_dump(saved))
    assert main(saved_again) == 0
    first, second = load_history(here / "kept"), load_history(here / "again")
    assert (first[-1].gw.distortion == second[-1].gw.distortion).all()


def test_fit_without_a_watcher_says_how_to_attach_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--model=my_net.Net", "--data=my_net.Data", "--trainer.accelerator=cpu", "--trainer.max_steps=1",
             "--trainer.logger=false", "--trainer.enable_progress_bar=false", "--run_dir=out"]  # fmt: skip
    assert main(words) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "GWSimilarity" in line]
    assert said.startswith("No GWSimilarity is attached")
    assert not (here / "out/gw").exists()
    option = said.split()[-1]
    assert main([*words, option]) == 0
    assert "No GWSimilarity" not in capsys.readouterr().out
    assert len(load_history(here / "out")) == 2


def test_a_place_given_by_hand_wins_over_run_dir(here: Path) -> None:
    callbacks = [{"class_path": "lightning_gw.GWSimilarity", "init_args": {"save_dir": "mine", "probe_size": 8}}]
    (here / "mine.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    assert main(["fit", "-c", "base.yaml", "-c", "mine.yaml", "--run_dir=kept"]) == 0
    assert len(load_history(here / "mine")) == 2
    assert not (here / "kept/gw").exists()


def test_an_error_while_training_keeps_its_traceback(here: Path) -> None:
    with pytest.raises(ValueError, match="no_such_layer"):
        main(["fit", "-c", "base.yaml", "--trainer.callbacks=lightning_gw.GWSimilarity",
              "--trainer.callbacks.layers=no_such_layer"])  # fmt: skip


@pytest.mark.parametrize("command", ["compare", "report", "replay", "probe-report"])
def test_every_command_explains_itself_without_heavy_imports(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"lightning-gw {command}" in capsys.readouterr().out


def test_finished_runs_stand_side_by_side_and_a_folder_above_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        history = History.open(tmp_path / "runs" / name / "gw")
        for record in example_history_records():
            history.append(record)
    assert main(["report", "runs/first", "runs/second"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "2 runs side by side" in page
    assert page.count('class="row-head"') == 2
    assert "Single runs side by side: what differs between them may be" in page
    assert "Runs side by side</h2>" in page
    words = page.split("<main>")[1].split("<script")[0]
    assert [said for said in ("seed 0", "over seeds", "Which layers correspond") if said in words] == []
    assert main(["report", "runs/first", "runs/second", "--out", "a/new/folder"]) == 0
    assert "2 runs side by side" in (tmp_path / "a/new/folder/report.html").read_text()
    (tmp_path / "taken").write_text("")
    capsys.readouterr()
    assert main(["report", "runs/first", "--out", "taken"]) == 2
    assert "The page cannot be written into taken" in capsys.readouterr().err
    assert main(["report", "runs"]) == 2
    assert "lightning-gw report runs/first runs/second" in capsys.readouterr().err
    Path("runs/second").rename("runs/the second")
    Path("runs/first/gw").rename("runs/first/gw-words")
    assert main(["report", "runs"]) == 2
    assert "lightning-gw report runs/first/gw-words 'runs/the second'" in capsys.readouterr().err
    assert main(["report", "runs/first", "--out", "named.html"]) == 0
    Path("runs/first/gw-words").rename("runs/first/gw")
    History.open("runs/third/gw").append(example_record(0, ("a", "b", "c", "d")))
    assert main(["report", "runs/first", "runs/third", "--out", "unlike.html"]) == 0
    (drawn,) = json.loads(Path("unlike.html").read_text().split('id="data">')[1].split("<")[0])["comparisons"].values()
    assert drawn["strategies"]["third"]["labels"] == ["1 a", "2 b", "3 c", "4 d"]
    assert [len(drawn["strategies"][name]["mean"]) for name in ("first", "third")] == [5, 4]
    assert main(["report", "runs/first", "runs/first"]) == 2
    assert "runs/first is given twice" in capsys.readouterr().err


def test_open_shows_the_page_or_says_that_no_browser_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History.open(tmp_path / "gw")
    history.append(example_history_records()[0])
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(asked.append(address)))
    assert main(["report", str(tmp_path), "--open"]) == 0
    assert asked == [(tmp_path / "report.html").as_uri()]
    assert "No browser could be started" in capsys.readouterr().out


@pytest.mark.slow
def test_a_workspace_takes_a_project_and_uploads_the_charts_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["workspace", "nothing"]) == 2
    assert "expected ENTITY/PROJECT" in capsys.readouterr().err
    uploaded: list[dict[str, Any]] = []
    saved: list[Any] = []

    class Api:
        def create_custom_chart(self, **chart: Any) -> str:
            uploaded.append(chart)
            if chart["name"].startswith("gw-growth"):
                raise ValueError(f"chart {chart['name']} already exists")
            return chart["name"]

    import wandb
    import wandb_workspaces.workspaces as workspaces

    monkeypatch.setattr(wandb, "Api", Api)
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: saved.append(self))
    monkeypatch.setattr(workspaces.Workspace, "url", "https://wandb.ai/me/nets?nw=1", raising=False)
    assert main(["workspace", "me/nets"]) == 0
    assert [chart["name"] for chart in uploaded] == [chart.preset for chart in CHARTS]
    assert capsys.readouterr().out == "W&B workspace: https://wandb.ai/me/nets?nw=1\n"
    (workspace,) = saved
    panels = [panel for section in workspace.sections for panel in section.panels]
    asked = {key for panel in panels for key in getattr(panel, "media_keys", None) or ()}
    asked |= {panel.query["historyTable"]["tableKey"] for panel in panels if hasattr(panel, "query")}
    assert asked == {"gw/timeline", "gw/similarity", "gw/page", "gw/layers", "gw/matrix"}
