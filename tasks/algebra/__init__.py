"""Staged modular arithmetic, planted with one block of layers per stage."""

from tasks.algebra.data import ArithmeticData
from tasks.algebra.module import StagedArithmetic

__all__ = ["ArithmeticData", "StagedArithmetic"]
