"""Networks with planted groups, trained once and kept: what the referee `benchmarks/planted_groups.py` judges by."""
