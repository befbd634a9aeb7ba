"""Certified lower bounds: no coupling is better than these."""
