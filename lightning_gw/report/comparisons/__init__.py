"""What a page says of a comparison: the tasks, the answer of each strategy, and strategy against strategy."""
