"""A W&B workspace that opens on a comparison: its answer first, then the timelines strategy by strategy.

Needs the package ``wandb-workspaces``; saving one needs W&B online.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def comparison_workspace(entity: str, project: str, title: str, tasks: Mapping[str, Sequence[str]]) -> Any:
    """The workspace of a comparison, not saved yet.

    Runs are those of the comparison's group, grouped by strategy (their job type). The first section holds the
    comparison's own pictures, the second the timeline of every run; then groups, learning and the layers' distances.

    Args:
        entity: W&B user or team.
        project: W&B project.
        title: Title of the comparison, which is the group of its runs.
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
    """Save the workspace of a comparison that was logged online.

    Args are those of `comparison_workspace`.

    Returns:
        A sentence: where it opens, or why there is none.
    """
    try:
        workspace = comparison_workspace(entity, project, title, tasks)
    except ImportError:
        return "For a W&B workspace that opens on this comparison: pip install wandb-workspaces, then the same command."
    try:
        workspace.save()
    except Exception as error:  # whatever a server may do; everything is logged already
        return f"The W&B workspace was not saved ({type(error).__name__}: {error})."
    return f"W&B workspace: {workspace.url}"
