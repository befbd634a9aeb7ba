"""All that a run found: the `History`, append-only on disk.

One run's folder ``gw/`` holds ``history.jsonl`` (one line per record, no arrays), ``step-<step>.safetensors`` (that
record's arrays) and ``metrics.jsonl`` (the run's own scalars at each validation). A record appears whole or not at all:
its arrays are written aside and renamed first, and the line that refers to them comes last.
"""
