"""Staged modular arithmetic, planted with one block of layers per stage."""

from tasks.algebra.data import ArithmeticData
from tasks.algebra.module import StagedArithmetic, StagedTransformer

__all__ = ["ArithmeticData", "StagedArithmetic", "StagedTransformer"]
