"""The scripts of the documentation are no package: they are found in their own folder."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]
