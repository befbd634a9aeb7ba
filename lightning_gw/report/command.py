"""`lightning-gw report`: the page of a comparison, of a run, or of several runs side by side."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from lightning_gw.report.page import PAGE_FILE, write_page
from lightning_gw.report.run.loading import damages, load_runs, load_source
from lightning_gw.utilities.errors import UsageError, reason_of
from lightning_gw.utilities.output import say
from lightning_gw.utilities.shown import fetched


def report(paths: Sequence[str], out: str | None = None, reference: str | None = None, show: bool = False) -> Path:
    """Write the page and say where it is.

    Args:
        paths: The folder of a comparison or of a run, or those of several runs; a run may be a history in W&B
            (``team/project/gw-history-abc:v3``), which is downloaded.
        out: The page, a name that ends in .html, or its folder; None takes the only path, or the working directory for
            several runs.
        reference: See `write_report`.
        show: Whether to open it in a browser.

    Raises:
        UsageError: If a folder does not exist or holds nothing to report, or the page cannot be written.
    """
    try:
        folders = [fetched(path) for path in paths]
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"{folder} does not exist. `report` takes the folder of a comparison or of runs.")
    try:
        source = load_source(folders[0]) if len(folders) == 1 else load_runs(folders)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    place = Path(out) if out else folders[0] if len(folders) == 1 else Path()
    named = place.suffix.lower() in (".html", ".htm") and not place.is_dir()
    page = place if named else place / PAGE_FILE
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(source, page, reference)
    except OSError as error:
        why = f"The page cannot be written into {page.parent} ({reason_of(error)})."
        raise UsageError(f"{why} Name another place with --out.") from error
    for damage in damages(source):
        say(f"Note: {damage}")
    address = page.resolve().as_uri()
    say(f"Open {address}")
    if show and not webbrowser.open(address):
        say("No browser could be started here; the line above is the page's address.")
    return page
