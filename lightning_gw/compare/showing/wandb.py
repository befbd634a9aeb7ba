"""The summary run of a comparison in Weights & Biases: its tables, pictures and answers, beside the runs themselves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_gw.compare.plan import Plan
from lightning_gw.statistics.tables import comparison_tables

if TYPE_CHECKING:
    from lightning_gw.report.comparisons.tasks import TaskAnswer


def log_summary_run(plan: Plan, mode: str, page: Path | None = None) -> str | None:
    """Log what a comparison found as one W&B run, in place of the one logged before.

    Per task there are the tables of `comparison_tables` (``<task>/runs``, …), the pictures of `task_pictures`
    (``<task>/timelines``, …), and in the summary the answer in words and the p-values. `page` and ``comparison.json``
    are an artifact of type ``gw-comparison``.

    Returns:
        A sentence: why it could not be logged, or where the workspace of a comparison logged online opens; None where
        there is nothing to say. A comparison that is done does not fail for it.
    """
    if mode == "disabled":
        return None
    try:
        entity = _log(plan, mode, page)
        if mode != "online":
            return None
        tasks: dict[str, set[str]] = {}
        for run in plan.runs:
            tasks.setdefault(run.task, set()).update(filter(None, [run.accuracy]))
        return save_workspace(
            entity, plan.wandb["project"], plan.title, {task: sorted(metrics) for task, metrics in tasks.items()}
        )
    except Exception as error:  # whatever a server or a disk may do; the runs are finished and on disk
        return f"The comparison's summary was not logged to W&B ({type(error).__name__}: {error})."


def _log(plan: Plan, mode: str, page: Path | None) -> str:
    """Log it; the entity it was logged under."""
    import wandb

    from lightning_gw.figures.png import to_rgb
    from lightning_gw.report import load_source
    from lightning_gw.report.comparisons.rectangles import CACHE_FILE, rectangles_of
    from lightning_gw.report.comparisons.tasks import answer_tasks
    from lightning_gw.report.pictures import task_pictures

    source = load_source(plan.out)
    answers = answer_tasks(source.runs)
    rectangles = rectangles_of(source.runs, plan.out / CACHE_FILE)  # computed for the page before
    identity = hashlib.sha256(f"{plan.out.absolute()} summary".encode()).hexdigest()[:12]
    run = wandb.init(
        project=plan.wandb["project"],
        entity=plan.wandb.get("entity"),
        dir=plan.out,
        mode=mode,  # type: ignore[arg-type]
        group=plan.title,
        job_type="summary",
        name=f"{plan.title}: summary",
        id=identity,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(silent=True),
        config={
            "tasks": sorted(answers),
            "strategies": list(dict.fromkeys(planned.strategy for planned in plan.runs)),
            "seeds": sorted({planned.seed for planned in plan.runs}),
        },
    )
    try:
        row: dict[str, Any] = {}
        for task, answer in answers.items():
            if answer.comparison is None:
                run.summary[f"{task}/answer"] = answer.lacking
                continue
            for name, rows in comparison_tables(answer.comparison).items():
                columns: list[str | int] = list(rows[0]) if rows else []
                row[f"{task}/{name}"] = wandb.Table(columns=columns, data=[list(each.values()) for each in rows])
            for name, figure in task_pictures(source.runs, answer, rectangles.get(task)).items():
                row[f"{task}/{name}"] = wandb.Image(to_rgb(figure))
            run.summary.update(summary_values(task, answer))
        run.log(row)
        artifact = wandb.Artifact(f"comparison-{identity}", type="gw-comparison")
        for file in filter(None, [plan.out / "comparison.json", page]):
            if file.exists():
                artifact.add_file(str(file))
        run.log_artifact(artifact)
        return str(run.entity)
    finally:
        run.finish()


def summary_values(task: str, answer: TaskAnswer) -> dict[str, Any]:
    """The answer of one task in words and p-values, by W&B summary key."""
    values: dict[str, Any] = {f"{task}/answer": " ".join(answer.sentences)}
    for by, test in answer.comparison.overall.items() if answer.comparison else ():
        numbers = {"p": test.p, "share": test.share, "between": test.between, "within": test.within}
        values |= {f"{task}/{by}/{name}": value for name, value in numbers.items() if math.isfinite(value)}
    return values


def comparison_workspace(entity: str, project: str, title: str, tasks: Mapping[str, Sequence[str]]) -> Any:
    """The workspace of a comparison, not saved yet.

    Runs are those of the comparison's group, which is its title, grouped by strategy (their job type).

    Args:
        entity: W&B user or team.
        project: W&B project.
        title: Title of the comparison.
        tasks: Task to the names of the metrics that its runs are judged by.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``; its ``save()`` needs W&B online, its ``url`` is where it opens.

    Raises:
        ImportError: Where ``wandb-workspaces`` is not installed.
    """
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr

    from lightning_gw.report.pictures import PICTURES

    def pictures(key: str, name: str) -> Any:
        return reports.MediaBrowser(
            title=name, media_keys=[key], num_columns=1, layout=reports.Layout(x=0, y=0, w=24, h=18)
        )

    def lines(key: str, name: str) -> Any:
        return reports.LinePlot(title=name, x="trainer/global_step", y=[key], log_x=True)

    answer = [pictures(f"{task}/{key}", f"{task}: {key.replace('_', ' ')}") for task in tasks for key in PICTURES]
    accuracies = sorted({metric for metrics in tasks.values() for metric in metrics})
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[
            workspaces.Section(
                name="Timeline per strategy",
                is_open=True,
                panels=[reports.MediaBrowser(title="Groups over training", media_keys=["gw/timeline"], num_columns=3)],
            ),
            workspaces.Section(name="What the comparison found", is_open=True, panels=answer),
            workspaces.Section(
                name="Groups and learning",
                is_open=True,
                panels=[
                    lines("gw/groups/count", "Number of groups"),
                    lines("gw/groups/p_value", "p-value of the groups"),
                    *(lines(metric, metric) for metric in accuracies),
                ],
            ),
            workspaces.Section(
                name="Matrices",
                panels=[reports.MediaBrowser(title="GW similarity", media_keys=["gw/similarity"], num_columns=3)],
            ),
        ],
        settings=workspaces.WorkspaceSettings(x_axis="trainer/global_step", max_runs=100),
        runset_settings=workspaces.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == title), groupby=[expr.Metric("JobType")]
        ),
    )


def save_workspace(entity: str, project: str, title: str, tasks: Mapping[str, Sequence[str]]) -> str:
    """Save the `comparison_workspace`; a sentence that says where it opens, or why there is none."""
    try:
        workspace = comparison_workspace(entity, project, title, tasks)
    except ImportError:
        return "For a W&B workspace that opens on this comparison: pip install wandb-workspaces, then the same command."
    try:
        workspace.save()
    except Exception as error:  # whatever a server may do; everything is logged already
        return f"The W&B workspace was not saved ({type(error).__name__}: {error})."
    return f"W&B workspace: {workspace.url}"
