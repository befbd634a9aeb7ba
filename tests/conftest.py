"""What all tests share."""

from __future__ import annotations

from contextlib import suppress

# Lightning's loggers write to the standard error that there is when a package is first imported. Within a test that
# would be one which is closed when the test ends, and every later message an error.
import pytorch_lightning  # noqa: F401

with suppress(ImportError):
    import lightning.pytorch  # noqa: F401
