"""Layers that train in stages, or towards the end of their own stage."""
