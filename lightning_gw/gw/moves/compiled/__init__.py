"""Moves of one pair at a time, compiled by Numba for the CPU."""
