"""What looking may cost: the arithmetic, with made-up clocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lightning_gw as lgw
from lightning_gw.callback.messages import overdrawn_message, postponed_message, postponed_note
from lightning_gw.callback.when.budget import FREE_SECONDS, REMEMBERED, SHORTEST_TRAINING, Budget
from lightning_gw.callback.when.pace import Pace
from lightning_gw.callback.when.schedule import Schedule


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def simulate(
    share: float | None,
    step_seconds: float,
    looks: list[float],
    schedule: int | Schedule,
    total: int,
    known: bool = True,
    slowing: float = 1.0,
    planned: bool = True,
    resumed_at: int | None = None,
) -> tuple[Pace, list[int]]:
    """A training whose looks fall due by a schedule, or every so many steps; their costs come from `looks`, in turn.

    From half of its steps on, each takes `slowing` times as long. Of looks that are not `planned`, as those at
    checkpoints are not, nobody knows how many are to come.
    """
    clock = Clock()
    pace = Pace(share, clock)
    pace.start(0, total if known else math.inf)
    made: list[int] = []
    if isinstance(schedule, int):
        schedule = Schedule("every_n_steps", every_n_steps=schedule)
    schedule.plan(lambda: total)

    def look(step: int) -> None:
        with pace.looking():
            clock.now += looks[len(made) % len(looks)]
        pace.made(step)
        made.append(step)

    look(0)
    for step in range(1, total + 1):
        clock.now += step_seconds * (slowing if step > total / 2 else 1.0)
        if step < total and (schedule.due(step, step - 1) or pace.due(step)):
            delay = pace.delay(step, ahead=schedule.ahead(step, pace.total) if planned else None)
            if delay:
                pace.postpone(step, step + delay)
            else:
                look(step)
        if step == resumed_at:
            pace.update()
            state, pace = pace.budget.state_dict(), Pace(share, clock)
            pace.budget.load_state_dict(state)
            pace.start(step, total)
    look(total)
    pace.finish()
    return pace, made


@given(
    share=st.floats(0.005, 0.2),
    step_seconds=st.floats(0.05, 2.0),
    cost=st.floats(0.01, 1.4),
    every=st.integers(1, 40),
    known=st.booleans(),
    planned=st.booleans(),
)
@settings(deadline=None)
def test_a_training_of_five_minutes_or_more_never_pays_more_than_its_share(
    share: float, step_seconds: float, cost: float, every: int, known: bool, planned: bool
) -> None:
    total = math.ceil(SHORTEST_TRAINING / step_seconds) + every
    cost = min(cost, share * SHORTEST_TRAINING / 2)  # two looks are always made
    pace, made = simulate(share, step_seconds, [cost], every, total, known, planned=planned)
    assert pace.budget.spent <= share * pace.budget.training + 1e-9
    assert not pace.budget.overdrawn
    # And what it may spend is not left lying: one more look would not have fitted, unless all were made.
    if len(made) < total // every:
        assert pace.budget.spent + 2 * cost + every * step_seconds * share > share * SHORTEST_TRAINING


def test_a_training_that_ends_later_than_foreseen_is_no_short_one() -> None:
    """Seen to take 280 s, it takes 308: the looks a short one gets for free would have been made by then."""
    pace, made = simulate(0.02, 0.4, [2.0], 90, total=700, slowing=1.2)
    assert pace.budget.training > SHORTEST_TRAINING
    assert not pace.budget.overdrawn
    assert made == [0, 90, 700]


def test_put_off_looks_are_made_as_soon_as_they_fit() -> None:
    _, made = simulate(0.02, 1.0, [2.0], 100, total=2000)
    # 6 s are allowed from the start: the first look, and the last one set aside, leave room for one more at 100.
    assert made == [0, 100, *range(400, 2001, 100)]


def test_a_dear_schedule_stretches_and_a_cheap_one_is_kept() -> None:
    _, cheap = simulate(0.02, 1.0, [0.1], 100, total=2000)
    assert cheap == list(range(0, 2001, 100))
    _, dear = simulate(0.02, 1.0, [5.0], 100, total=2000)
    assert dear == [0, 750, 1000, 1250, 1500, 1750, 2000]
    _, at_any_price = simulate(None, 1.0, [50.0], 100, total=2000)
    assert at_any_price == list(range(0, 2001, 100))


def test_a_look_dearer_than_the_others_is_waited_for() -> None:
    """One in eight is a search in full: the next is expected to cost what the dearest of the last eight did."""
    budget = Budget(0.02)
    for seconds in (3.0, *[0.1] * (REMEMBERED - 1)):
        budget.looked(seconds)
    assert budget.expected == 3.0
    budget.looked(0.1)
    assert budget.expected == 0.1


def test_a_short_training_gets_its_pictures() -> None:
    pace, made = simulate(0.02, 0.1, [5.0], 20, total=200)
    assert made == list(range(0, 201, 20))
    assert not pace.budget.overdrawn
    _, of_unknown_length = simulate(0.02, 0.1, [5.0], 20, total=200, known=False)
    assert of_unknown_length == [0, 200]


@pytest.mark.parametrize("planned", [True, False])
def test_looks_that_do_not_all_fit_are_spread_over_a_short_training(planned: bool) -> None:
    """Six of eleven fit. The second says what looks cost; from there on they leave even gaps."""
    pace, made = simulate(0.02, 0.1, [9.9], 20, total=200, planned=planned)
    assert made == [0, 20, 80, 119, 159, 200]
    assert pace.budget.spent <= FREE_SECONDS


def test_a_longer_training_has_no_gap_between_what_is_free_and_what_it_earns() -> None:
    """6 s are free in the first 300 s, and one second in fifty is earned from there on."""
    _, made = simulate(0.02, 1.0, [1.0], 10, total=400)
    assert made == [0, 10, 115, 172, 229, 350, 400]
    _, of_unknown_length = simulate(0.02, 1.0, [1.0], 10, total=400, known=False)
    assert of_unknown_length == [0, 10, 20, 30, 40, 350, 400]


@pytest.mark.parametrize("first", [6.0, 10.0], ids=["all alike", "a dear first look"])
def test_looks_that_all_fit_are_made_when_they_fall_due_however_early(first: float) -> None:
    _, made = simulate(0.02, 1.0, [first, *[5.0] * 7], Schedule("log"), total=128)
    assert made == [0, 2, 4, 8, 16, 32, 64, 128]


def test_a_dear_look_at_a_late_step_does_not_undo_the_last_one() -> None:
    pace, made = simulate(0.02, 0.1, [2.0, 2.0, 30.0, 2.0], 20, total=200)
    assert made[0] == 0
    assert made[-1] == 200
    assert pace.budget.spent <= FREE_SECONDS


def test_looks_are_spread_alike_where_training_is_resumed() -> None:
    _, whole = simulate(0.02, 0.1, [9.9], 20, total=200)
    for at in (1, 30, 80, 150):
        made = simulate(0.02, 0.1, [9.9], 20, total=200, resumed_at=at)[1]
        # A look that was put off is asked for again at the next step that is due.
        assert made == pytest.approx(whole, abs=1)


def test_what_is_done_once_is_paid_for_and_not_expected_again() -> None:
    budget = Budget(0.02)
    budget.charge(5.9)
    assert budget.expected == 0
    budget.looked(0.2)
    assert budget.lacking == pytest.approx((5.9 + 3 * 0.2) / 0.02)


def test_what_is_asked_for_by_itself_is_neither_training_nor_its_cost() -> None:
    clock = Clock()
    pace = Pace(0.02, clock)
    pace.start(0)
    clock.now += 5
    with pace.uncharged():
        clock.now += 100
    clock.now += 7
    with pace.charged():
        clock.now += 1
    pace.update()
    assert (pace.budget.training, pace.budget.spent, pace.budget.expected) == (12, 1, 0)


def test_the_budget_outlives_a_resumed_training() -> None:
    budget, resumed = Budget(0.02), Budget(0.02)
    budget.trained(100)
    budget.looked(4.0)
    resumed.load_state_dict(budget.state_dict())
    assert resumed.state_dict() == budget.state_dict()
    assert resumed.lacking == budget.lacking > 0


def test_the_wait_at_the_end_is_set_aside_too() -> None:
    budget = Budget(0.02)
    budget.looked(2.0)
    assert budget.lacking == 0
    budget.closing = 1.0
    assert budget.lacking == pytest.approx(350)  # 2 s spent, twice 2 s and 1 s to come


def test_the_background_is_held_to_less_unless_told_otherwise() -> None:
    assert lgw.GWSimilarity().max_overhead == 0.02
    assert lgw.GWSimilarity(solve="background").max_overhead == 0.005
    assert lgw.GWSimilarity(solve="background", max_overhead=0.02).max_overhead == 0.02
    assert lgw.GWSimilarity(solve="background", max_overhead=None).max_overhead is None


@pytest.mark.parametrize("share", [0, -0.1, math.inf, math.nan])
def test_nonsense_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"max_overhead=.* above 0, such as 0\.02"):
        lgw.GWSimilarity(max_overhead=share)


def test_what_looks_are_held_to_is_said_as_it_is() -> None:
    budget = Budget(0.02)
    budget.trained(20.0)
    budget.looked(30.0)
    budget.looked(31.0)
    assert "to keep to max_overhead=0.02" in postponed_message(5, 9, budget)
    budget.remaining = 10.0
    limit = "the 60 s that looks may take in a training below 300 s"
    assert f"until about step 9, to keep to {limit}. Looking took 61.0 s." in postponed_message(5, 9, budget)
    assert f"to keep to {limit}." in postponed_note(1, 0, budget)
    assert overdrawn_message(budget).startswith(f"Looking took 61.0 s: more than {limit}, because the first look")
    budget.share = 0.5
    assert budget.limit == "max_overhead=0.5", "which allows more"


def test_looks_that_were_put_off_are_told_with_the_reason_that_applied() -> None:
    pace = Pace(0.02, Clock())
    pace.start(0)

    def put_off(step: int, backlog: float) -> None:
        pace.postpone(step, step + pace.delay(step, backlog))

    put_off(10, backlog=5.0)
    assert postponed_note(*pace.made(20), pace.budget) == (
        "1 look was put off before this one because others were being solved."
    )
    put_off(30, backlog=5.0)
    pace.budget.looked(10.0)  # far more than is allowed
    put_off(40, backlog=5.0)
    put_off(50, backlog=0.0)
    put_off(60, backlog=0.0)
    assert postponed_note(*pace.made(60), pace.budget) == (
        "2 looks were put off before this one to keep to max_overhead=0.02, and 1 because others were being solved."
    )
    assert pace.made(70) == (0, 0)


def test_the_bill_gives_seconds_share_what_is_not_counted_and_what_costs_less() -> None:
    budget = Budget(0.02)
    budget.trained(65.0)
    budget.remaining = 0.0
    budget.looked(27.0)
    budget.uncounted = 3.2
    said = budget.bill()
    assert said.startswith("Looking took 27.0 s, 41.5% of 65 s of training; 3.2 s more, which are not counted,")
    assert "A training below 300 s may spend up to 60 s on looks" in said
    assert "fewer looks make it less, and so does solve='background'." in said
    budget.share = 0.005
    assert budget.bill().endswith("fewer looks make it less.")
    budget.training = 0.04
    budget.uncounted = 0.0
    assert budget.bill().startswith("Looking took 27.0 s and training 0.0 s. A training below 300 s may"), "no share"
    budget.training = 20.0
    assert budget.bill().startswith("Looking took 27.0 s and training 20.0 s. "), "no share above the whole"
    cheap = Budget(0.02)
    cheap.trained(1000.0)
    cheap.looked(2.0)
    assert cheap.bill() == "Looking took 2.0 s, 0.2% of 1000 s of training."
