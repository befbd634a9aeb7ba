"""The history that a run left in W&B, brought onto this machine."""

from __future__ import annotations

from pathlib import Path


def download(name: str) -> Path:
    """Download an artifact that `log_summary` logged.

    Args:
        name: ``ENTITY/PROJECT/ARTIFACT:VERSION``.

    Returns:
        The folder it was downloaded to, which `load_history` reads.

    Raises:
        FileNotFoundError: If W&B does not give it; the message says why.
        ValueError: If it is no history.
    """
    import wandb

    try:
        artifact = wandb.Api().artifact(name)
        fits = artifact.type == "gw-history"
        folder = Path(artifact.download()) if fits else Path()  # anything else may be of any size
    except Exception as error:  # not logged in, no such artifact, a server that is away
        raise FileNotFoundError(f"W&B gave no artifact {name!r} ({type(error).__name__}: {error}).") from error
    if not fits:
        raise ValueError(f"{name!r} is of type {artifact.type!r}; a run's history is an artifact of type 'gw-history'.")
    return folder
