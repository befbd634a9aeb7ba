"""From where a search starts to the best permutation it finds."""
