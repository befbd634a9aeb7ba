"""Moves of many pairs at once, in torch, on any device."""
