"""The claims of the method's paper, and one of this project, each held against what was measured.

The paper has two versions. The first, of 2024, claims what `training` and `practice` judge; the later one, of 2025,
drops training strategies and adds what `steps`, `removing` and `fine_tuning` judge. That settled groups can be frozen
is a claim of this project alone: `freezing`. Each function says in its docstring by which rule it judges.
"""

from __future__ import annotations

from claims.fine_tuning import groups_serve_fine_tuning
from claims.freezing import settled_groups_can_be_frozen
from claims.practice import cost_is_low, widths_may_differ
from claims.removing import groups_serve_compression
from claims.steps import layers_change_abruptly
from claims.training import groups_are_planted_stages, groups_emerge, strategies_move_groups
from claims.verdicts import LIMITS, Verdict, first_table

__all__ = [
    "LIMITS",
    "Verdict",
    "cost_is_low",
    "first_table",
    "groups_are_planted_stages",
    "groups_emerge",
    "groups_serve_compression",
    "groups_serve_fine_tuning",
    "layers_change_abruptly",
    "settled_groups_can_be_frozen",
    "strategies_move_groups",
    "widths_may_differ",
]
