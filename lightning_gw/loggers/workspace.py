"""A W&B workspace for single runs: what was found first, as panels that need no building."""

from __future__ import annotations

from typing import Any

from lightning_gw.loggers.charts import ADJACENT, CHARTS, GROWTH, MATRIX, TIMELINE, Chart
from lightning_gw.utilities.errors import UsageError

MISSING = "A W&B workspace needs the package wandb-workspaces: pip install 'lightning-gw[workspaces]'."


def run_workspace(entity: str, project: str, prefix: str = "gw/") -> Any:
    """The workspace of a project's runs, not saved yet: the answer, the pictures, the evidence, the numbers.

    Args:
        entity: W&B user or team.
        project: W&B project.
        prefix: What log keys begin with.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``; its ``save()`` needs W&B online.

    Raises:
        UsageError: Where ``wandb-workspaces`` is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise UsageError(MISSING) from error

    def media(key: str, title: str, width: int, x: int = 0) -> Any:
        return reports.MediaBrowser(
            title=title, media_keys=[prefix + key], num_columns=1, layout=reports.Layout(x=x, y=0, w=width, h=12)
        )

    def chart(of: Chart, x: int = 0, y: int = 12) -> Any:
        return reports.CustomChart(
            query={"historyTable": {"tableKey": prefix + of.table}},
            chart_name=f"{entity}/{of.preset}",
            chart_fields=dict(of.fields),
            chart_strings={"title": of.title},
            layout=reports.Layout(x=x, y=y, w=12, h=10),
        )

    def lines(key: str, title: str) -> Any:
        return reports.LinePlot(title=title, x="trainer/global_step", y=[prefix + key])

    sections = [
        workspaces.Section(
            name="Which groups, since when",
            is_open=True,
            panels=[
                media("timeline", "Groups over training, one row a run", 14),
                media("similarity", "How alike the layers are: the slider goes through the looks", 10, 14),
                chart(TIMELINE),
                chart(MATRIX, 12),
            ],
        ),
        workspaces.Section(
            name="How far each layer is from the next",
            is_open=True,
            panels=[chart(ADJACENT, y=0), chart(GROWTH, 12, 0)],
        ),
        workspaces.Section(
            name="How far to believe it",
            panels=[
                lines("groups/p_value", "p-value of the largest step"),
                lines("groups/count", "Number of groups"),
                lines("paired/groups/count", "Number of groups of the paired view"),
                lines("groups/roughness", "Unevenness of the steps"),
            ],
        ),
        workspaces.Section(name="The whole page", panels=[media("page", "Page of the run", 24)]),
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="Layer groups",
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="trainer/global_step"),
    )


def upload_charts(entity: str) -> list[str]:
    """Upload the presets that the workspace draws with, once for each user or team.

    Returns:
        What could not be uploaded, one sentence each; where a preset is there already that is not said.
    """
    import wandb

    problems = []
    for chart in CHARTS:
        try:
            wandb.Api().create_custom_chart(
                entity=entity,
                name=chart.preset,
                display_name=chart.title,
                spec_type="vega2",
                access="private",
                spec=chart.specification,
            )
        except Exception as error:  # whatever a server may do: the pictures are in the workspace without it
            if "already exists" not in str(error):
                problems.append(f"The chart “{chart.title}” was not uploaded ({type(error).__name__}: {error}).")
    return problems


def save_run_workspace(place: str, prefix: str = "gw/") -> list[str]:
    """Upload the charts and save the workspace of a project.

    Args:
        place: ``ENTITY/PROJECT``.
        prefix: What log keys begin with.

    Returns:
        Where it opens, after what could not be done.

    Raises:
        UsageError: If `place` is not of that form, ``wandb-workspaces`` is missing, or W&B does not take the workspace.
    """
    entity, _, project = place.partition("/")
    if not entity or not project or "/" in project:
        raise UsageError(f"{place!r} names no project; expected ENTITY/PROJECT, as in the address of its W&B page.")
    workspace = run_workspace(entity, project, prefix)
    problems = upload_charts(entity)
    try:
        workspace.save()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageError(f"W&B did not save the workspace ({why}). Have you done `wandb login`?") from error
    return [*problems, f"W&B workspace: {workspace.url}"]
