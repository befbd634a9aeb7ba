"""What loggers wrote is read back from their own files and compared with the history, number by number."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import wandb
from example_records import STEPS, example_groups, example_history_records, example_record
from expected_logs import CONFIG, PACKAGES, expected_in_wandb, expected_scalars
from PIL import Image
from same_records import assert_same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_file import OfflineRun, rows_of_records

from lightning_gw.loggers import content
from lightning_gw.loggers import dispatch as gw_loggers
from lightning_gw.loggers.scalars import record_scalars
from lightning_gw.records.history import History, load_history
from lightning_gw.records.record import Record
from lightning_gw.records.words.description import describe
from lightning_gw.utilities.text import short_names


@dataclass
class Logged:
    """One run that was logged to W&B, TensorBoard and CSV at once."""

    folder: Path
    records: list[Record]
    problems: list[str]
    wandb_run: OfflineRun

    @property
    def history(self) -> History:
        return load_history(self.folder)


@pytest.fixture(scope="module", params=[PACKAGES[0], pytest.param(PACKAGES[1], marks=pytest.mark.slow)])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    folder = tmp_path_factory.mktemp("run")
    classes = importlib.import_module(f"{request.param}.loggers")
    attached = [
        classes.WandbLogger(mode="offline", save_dir=folder, project="gw"),
        classes.TensorBoardLogger(folder / "tensorboard", name="", version=""),
        classes.CSVLogger(folder / "csv", name="", version=""),
    ]
    records = example_history_records(degenerate=0)
    # The run changes as it goes: no groups at first, and a p-value later.
    records[0] = replace(records[0], groups=example_groups(records[0].groups.adjacent, (), "none", 0), group_ids=())
    records[-1] = replace(records[-1], groups=replace(records[-1].groups, p_value=0.02, roughness=0.4))
    history = History.open(folder / "gw")
    problems = gw_loggers.log_config(attached, CONFIG)
    for record in records:
        attached[0].log_metrics({"train_loss": 1.0}, step=max(record.step - 1, 0))  # Lightning's rows lie between
        history.append(record)
        problems += gw_loggers.log_record(attached, record, history)
    problems += gw_loggers.log_summary(attached, history)
    wandb.finish()
    for logger in attached[1:]:
        logger.finalize("success")
    return Logged(folder, records, problems, OfflineRun.read(folder))


# Weights & Biases


def test_every_record_is_one_wandb_row_at_its_step(logged: Logged) -> None:
    rows = rows_of_records(logged.wandb_run)
    assert [row["trainer/global_step"] for row in rows] == list(STEPS)
    assert len(logged.wandb_run.rows) == 2 * len(STEPS) + 1, "Lightning's own rows were dropped or merged"
    assert next(key for key in logged.wandb_run.rows[-1] if key.startswith("gw/")).startswith("gw/page")
    assert logged.wandb_run.step_metrics["gw/*"] == "trainer/global_step"


def test_every_number_in_wandb_is_that_of_the_history(logged: Logged) -> None:
    for row, record in zip(rows_of_records(logged.wandb_run), logged.history, strict=True):
        names = ("similarity.", "timeline.", "matrix.", "events.", "layers.", "adjacent", "growth")
        media = tuple(f"gw/{name}" for name in names)
        logged_values = {
            key: value for key, value in row.items() if key.startswith("gw/") and not key.startswith(media)
        }
        expected = expected_in_wandb(record)
        assert logged_values.keys() == expected.keys()
        for key, value in expected.items():
            assert logged_values[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-15, abs=0))


def test_two_charts_hold_what_would_be_two_panels_a_layer(logged: Logged) -> None:
    rows = rows_of_records(logged.wandb_run)
    assert not [key for row in rows for key in row if key.startswith(("gw/adjacent/", "gw/growth/"))]
    for count, row in enumerate(rows, start=1):
        for name, of in (("adjacent", lambda r: r.groups.adjacent), ("growth", lambda r: r.growth)):
            table = json.loads(logged.wandb_run.file({"path": row[f"gw/{name}_table.path"]}).read_text())
            expected = [
                (record.step, value)
                for record in logged.records[:count]
                for value in of(record)
                if math.isfinite(value)
            ]
            assert [(step, value) for step, _, value in table["data"]] == expected


def test_the_table_of_layers_and_the_page_are_there(logged: Logged) -> None:
    last = rows_of_records(logged.wandb_run)[-1]
    table = json.loads(logged.wandb_run.file({"path": last["gw/layers.path"]}).read_text())
    rows = [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]
    assert len(rows) == len(logged.records) * len(logged.records[0].layers)
    for row, (record, layer) in zip(rows, [(r, k) for r in logged.records for k in range(len(r.layers))], strict=True):
        label = record.groups.labels[layer]
        stands = record.groups.strength != "none" and label >= 0
        assert row["group"] == (record.group_ids[label] + 1 if stands else None)
        assert row["start"] < row["end"]
        assert row["boundary_after"] == (layer in record.groups.boundaries)
    page = logged.wandb_run.file({"path": logged.wandb_run.rows[-1]["gw/page.path"]}).read_text()
    assert "<!doctype html>" in page
    assert "Layer groups during training" in page


def test_what_is_not_finite_is_left_out_and_named(logged: Logged) -> None:
    assert "gw/adjacent/embedding" in logged.problems[0], "names without the path that all layers share"
    assert "gw/growth/embedding" in logged.problems[0]
    assert len(logged.problems) == len(STEPS), "there are other problems"
    for row in rows_of_records(logged.wandb_run):
        assert "gw/adjacent/embedding" not in row


def test_a_roughness_that_there_is_none_of_is_absent_without_a_word_at_every_look(logged: Logged) -> None:
    assert not any("roughness" in problem for problem in logged.problems)
    with_roughness = ["gw/groups/roughness" in row for row in rows_of_records(logged.wandb_run)]
    assert with_roughness == [math.isfinite(record.groups.roughness) for record in logged.records]
    assert with_roughness == [False] * (len(STEPS) - 1) + [True]


def test_the_pictures_are_png_files_that_show_something(logged: Logged) -> None:
    for key in ("gw/similarity", "gw/timeline"):
        seen = set()
        for row, record in zip(rows_of_records(logged.wandb_run), logged.records, strict=True):
            file = logged.wandb_run.file({"path": row[f"{key}.path"]})
            content = file.read_bytes()
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            assert pixels.shape[0] > 300
            assert len(np.unique(pixels[::9, ::9].reshape(-1, pixels.shape[-1]), axis=0)) > 10, "the picture is blank"
            assert row[f"{key}.caption"].startswith(f"step {record.step}: ")
            seen.add(content)
        assert len(seen) == len(STEPS), "two steps have the same picture"


def test_the_matrix_table_holds_every_pair(logged: Logged) -> None:
    for row, record in zip(rows_of_records(logged.wandb_run), logged.history, strict=True):
        table = json.loads(logged.wandb_run.file({"path": row["gw/matrix.path"]}).read_text(), parse_constant=_refuse)
        cells = [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]
        size = len(record.layers)
        pairs = [(i, j) for i in range(size) for j in range(i, size)]
        assert [(c["place_a"], c["place_b"]) for c in cells] == [(i + 1, j + 1) for i, j in pairs]
        assert [(c["layer_a"], c["layer_b"]) for c in cells] == [(record.layers[i], record.layers[j]) for i, j in pairs]
        for cell, (i, j) in zip(cells, pairs, strict=True):
            assert cell["converged"] == record.gw.converged[i, j]
            labels = record.groups.labels
            together = labels[i] == labels[j] >= 0 and record.groups.strength != "none"
            assert cell["group"] == (record.group_ids[labels[i]] + 1 if together else None)
            expected = {
                "similarity": 1 - record.gw.distortion[i, j] / 2,
                "similarity_bound": 1 - record.gw.lower[i, j] / 2,
                "paired": 1 - record.gw.identity[i, j] / 2,
                "distance": math.sqrt(record.gw.distortion[i, j]),
                "distance_bound": math.sqrt(record.gw.lower[i, j]),
                "paired_distance": math.sqrt(record.gw.identity[i, j]),
                "paired_dcor": record.measures["paired_dcor"][i, j],
                "paired_cka": record.measures["paired_cka"][i, j],
            }
            assert {key: cell[key] for key in expected} == {
                k: None if math.isnan(v) else v for k, v in expected.items()
            }


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_the_events_table_grows_with_the_run(logged: Logged) -> None:
    rows = rows_of_records(logged.wandb_run)
    for count, row in enumerate(rows, start=1):
        table = json.loads(logged.wandb_run.file({"path": row["gw/events.path"]}).read_text())
        events = [(record, event) for record in logged.records[:count] for event in record.events]
        assert [(cells[0], cells[1], cells[-1]) for cells in table["data"]] == [
            (event.step, event.kind, event.sentence(short_names(record.layers))) for record, event in events
        ]
        for cells, (record, event) in zip(table["data"], events, strict=True):
            named = dict(zip(table["columns"], cells, strict=True))
            assert named["layers"].split(", ") == [record.layers[layer] for layer in event.layers]
            moved = (event.boundary_from, event.boundary_to)
            assert (named["boundary_from"], named["boundary_to"]) == tuple(None if b is None else b + 1 for b in moved)
    assert len(table["data"]) == 2 * (len(STEPS) - 1)


def test_config_summary_and_artifact_are_there(logged: Logged) -> None:
    run = logged.wandb_run
    assert run.config["gw"] == json.loads(json.dumps(CONFIG))
    assert run.summary["gw/answer"] == describe(logged.history)
    assert run.summary["gw/final/strength"] == "strong"
    assert run.summary["gw/final/groups"] == logged.records[-1].groups.ranges(short_names(logged.records[-1].layers))
    assert run.summary["gw/final/step"] == STEPS[-1]
    (artifact,) = [artifact for artifact in run.artifacts if artifact.type == "gw-history"]
    assert artifact.name.startswith("gw-history-")
    sizes = {entry.path: entry.size for entry in artifact.manifest.contents}
    files = ["history.jsonl", "metrics.jsonl", *(f"step-{step:08d}.safetensors" for step in STEPS)]
    assert sizes == {name: (logged.folder / "gw" / name).stat().st_size for name in files}


def test_the_artifact_is_a_history_that_loads(logged: Logged, tmp_path: Path) -> None:
    (artifact,) = [artifact for artifact in logged.wandb_run.artifacts if artifact.type == "gw-history"]
    for entry in artifact.manifest.contents:
        (tmp_path / entry.path).write_bytes(Path(entry.local_path).read_bytes())
    assert_same(list(load_history(tmp_path)), logged.records)


def test_tables_of_many_looks_or_layers_keep_within_what_wandb_draws() -> None:
    assert content.MOST_ROWS == wandb.Table.MAX_ROWS
    few = example_history_records()
    many = [replace(few[k % len(few)], step=k, events=()) for k in range(2500)]
    look = content.LogContent(many[-1], many, "gw/")
    rows = look.tables["gw/layers"].rows
    assert content.MOST_ROWS - 5 <= len(rows) <= content.MOST_ROWS
    assert (rows[0][0], rows[-1][0]) == (0, 2499)
    for series in look.series.values():
        assert len(series.rows) <= content.MOST_ROWS
        assert {step for step, *_ in series.rows} == {row[0] for row in rows}
    (problem,) = look.problems
    assert "no more than 10000 rows" in problem
    deep = example_record(0, tuple(f"layer.{k}" for k in range(200)), inputs=2)
    look = content.LogContent(deep, [deep], "gw/")
    cells = [dict(zip(look.tables["gw/matrix"].columns, row, strict=True)) for row in look.tables["gw/matrix"].rows]
    assert len(cells) == 100 * 101 / 2
    assert {cell["place_a"] for cell in cells} == set(range(1, 200, 2))
    assert all(cell["similarity"] == deep.gw.similarity[cell["place_a"] - 1, cell["place_b"] - 1] for cell in cells)
    assert look.problems == [problem], "said in the same words, so that it is said once"
    look = content.LogContent(few[-1], few, "gw/")
    assert len(look.tables["gw/layers"].rows) == 5 * len(few)
    assert look.problems == []


def test_the_first_keys_to_look_at_come_first() -> None:
    keys = list(record_scalars(example_record(10)))
    assert keys[0] == "groups/count"
    assert keys.index("groups/strength") < keys.index("boundary/1")


@pytest.mark.slow
@pytest.mark.usefixtures("finish_wandb")
def test_two_instances_with_their_own_prefix_do_not_mix(tmp_path: Path) -> None:
    from pytorch_lightning.loggers import WandbLogger

    attached = [WandbLogger(mode="offline", save_dir=tmp_path)]
    record = example_record(10)
    for prefix in ("gw/", "gw-decoder/"):
        assert gw_loggers.log_config(attached, {"prefix": prefix}, prefix) == []
        gw_loggers.log_record(attached, record, [], prefix)
    wandb.finish()
    run = OfflineRun.read(tmp_path)
    assert [run.config[name]["prefix"] for name in ("gw", "gw-decoder")] == ["gw/", "gw-decoder/"]
    for row, prefix in zip(run.rows, ("gw/", "gw-decoder/"), strict=True):
        assert expected_in_wandb(record, prefix).items() <= row.items()
        assert row["trainer/global_step"] == 10


@pytest.mark.slow
@pytest.mark.usefixtures("finish_wandb")
def test_a_disabled_run_takes_everything_and_writes_nothing(tmp_path: Path) -> None:
    from pytorch_lightning.loggers import WandbLogger

    attached = [WandbLogger(mode="disabled", save_dir=tmp_path)]
    history = History.open(tmp_path / "gw")
    history.append(example_record(10, groups=example_groups(np.ones(4), (1,), "weak")))
    assert gw_loggers.log_config(attached, CONFIG) == []
    problems = gw_loggers.log_record(attached, history[0], history)
    assert problems == []
    assert gw_loggers.log_summary(attached, history) == []
    assert [file.name for file in tmp_path.iterdir()] == ["gw"]


# TensorBoard and CSV


def test_every_number_in_tensorboard_is_that_of_the_history(logged: Logged) -> None:
    events = EventAccumulator(
        str(logged.folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}
    )
    events.Reload()
    found: dict[int, dict[str, float]] = {step: {} for step in STEPS}
    for key in events.Tags()["scalars"]:
        for event in events.Scalars(key):
            found[event.step][key] = event.value
    for record in logged.history:
        expected = {key: float(np.float32(value)) for key, value in expected_scalars(record).items()}
        assert found[record.step] == pytest.approx(expected, rel=1e-7)
    for key in ("gw/similarity", "gw/timeline"):
        images = events.Images(key)
        assert [image.step for image in images] == list(STEPS)
        assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)
    texts = {
        key: events.Tensors(f"gw/{key}/text_summary") for key in ("sentence", "events", "final/sentence", "config")
    }
    assert [text.step for text in texts["sentence"]] == list(STEPS)
    assert [text.step for text in texts["events"]] == list(STEPS[1:])
    assert texts["final/sentence"][0].tensor_proto.string_val[0].decode() == describe(logged.history)
    assert '"hash": "0f3a"' in texts["config"][0].tensor_proto.string_val[0].decode()


def test_every_number_in_csv_is_that_of_the_history(logged: Logged) -> None:
    with (logged.folder / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(STEPS)
    for row, record in zip(rows, logged.history, strict=True):
        numbers = {key: float(value) for key, value in row.items() if value and key != "step"}
        assert numbers == pytest.approx(expected_scalars(record), rel=1e-15, abs=0)


@pytest.mark.parametrize("package", PACKAGES)
def test_csv_is_on_disk_after_every_record(package: str, tmp_path: Path) -> None:
    logger = importlib.import_module(f"{package}.loggers").CSVLogger(tmp_path, name="", version="")
    gw_loggers.log_record([logger], example_record(10), [])
    assert "gw/groups/count" in (tmp_path / "metrics.csv").read_text()
