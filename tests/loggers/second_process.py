"""A process that trains and logs to a W&B run that another process has, under a prefix of its own.

``python second_process.py URL ID FOLDER``: of the server, of the run, and where to write.
"""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / place) for place in ("loggers", "helpers/networks")]

if __name__ == "__main__":
    from test_wandb_server import train, wandb_logger

    url, run, folder = sys.argv[1:]
    logger = wandb_logger(url, Path(folder), run, mode="shared", x_primary=False, x_label="second")
    train(Path(folder), logger, prefix="second/", when=[2, 6])
    logger.experiment.finish()
