"""Up to which number the readings of a meter are there: what is missing, and what is gone."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.readings import Reading
from contract.replay import Replayed, runs
from history.readings_table import Rejected, Writer
from history.sequences import MOST_RUNS, Gap, Numbers, Sequences, between
from tests.support.postgresql import BOTH

DATABASES = BOTH
START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)
few = st.sets(st.integers(1, 40), max_size=30)


def readings(numbers: Iterable[int], meter: str = "1", **more: bool) -> list[Reading]:
    return [
        Reading(meter, START + timedelta(seconds=n), {"power": float(n)}, n, **more)
        for n in numbers
    ]


def answer(*sent: int, after: int = 0, upto: int | None = None, oldest: int | None = 1) -> Replayed:
    last = upto if upto is not None else max(sent, default=after)
    return Replayed(after=after, upto=last, sent=runs(list(sent)), oldest=oldest)


@given(st.lists(few, max_size=5))
def test_joined_numbers_are_those_that_were_given_in_any_order(parts: list[set[int]]) -> None:
    numbers = Numbers()
    for part in parts:
        numbers = numbers.joined(runs(sorted(part)))

    there = set().union(*parts)
    assert {n for n in range(1, 41) if numbers.has((n, n))} == there
    assert all(n in there for n in range(1, numbers.upto + 1))
    assert Numbers.read(numbers.upto, numbers.text) == numbers


@given(few, st.integers(0, 40), st.integers(0, 45))
def test_what_runs_leave_out_is_the_rest(numbers: set[int], after: int, upto: int) -> None:
    inside = sorted(n for n in numbers if after < n <= upto)

    left = between(runs(inside), after, upto)

    rest = {n for first, last in left for n in range(first, last + 1)}
    assert rest == set(range(after + 1, upto + 1)) - set(inside)


def test_runs_above_a_gap_are_bounded() -> None:
    numbers = Numbers().joined((n, n) for n in range(2, 1000, 2))

    assert len(numbers.above) == MOST_RUNS


@pytest.mark.parametrize("number", [2**53, 2**63 - 1])
def test_numbers_that_no_bridge_reaches_are_as_if_they_were_not_there(number: int) -> None:
    assert Numbers.read(number, f"[[{number},{number}]]") == Numbers()
    assert Numbers.read(7, f"[[9,9],[{number},{number}]]") == Numbers(7, ((9, 9),))


@pytest.fixture
def writer(database: peewee.Database) -> Writer:
    return Writer(database)


@pytest.fixture
def sequences(writer: Writer) -> Sequences:
    """The numbers of a history that knows meter 1 of the bridge "house" up to number 3."""
    writer.write(readings([1, 2, 3]))
    writer.sequences.settle("house", {"1": answer(1, 2, 3)})
    return writer.sequences


def test_readings_in_order_leave_no_gap(writer: Writer, sequences: Sequences) -> None:
    writer.write(readings([4, 5]))

    assert sequences.numbers("house") == {"1": Numbers(5)}
    assert sequences.gaps == {}
    assert sequences.bridges() == ["house"]


def test_a_gap_is_seen_and_closed_by_what_was_missing(writer: Writer, sequences: Sequences) -> None:
    writer.write(readings([6, 7]))
    assert sequences.gaps == {"1": Gap("house", 3)}

    writer.write(readings([4, 5]))

    assert sequences.gaps == {}
    assert sequences.numbers("house") == {"1": Numbers(7)}


def test_numbers_are_kept_with_the_rows_or_not_at_all(writer: Writer, sequences: Sequences) -> None:
    without_reason: Any = None
    broken = Rejected("meters/1/power", b"", without_reason, "")

    with pytest.raises(peewee.IntegrityError):
        writer.write(readings([4]), [broken])

    assert sequences.numbers("house") == {"1": Numbers(3)}


def test_two_recorders_fill_each_others_gaps(
    writer: Writer, sequences: Sequences, database: peewee.Database
) -> None:
    other = Writer(database)
    for number in range(4, 20):
        (writer if number % 2 else other).write(readings([number]))

    assert sequences.numbers("house") == {"1": Numbers(19)}


def test_an_answer_closes_what_no_longer_exists_and_reports_what_is_lost(
    writer: Writer, sequences: Sequences
) -> None:
    writer.write(readings([8, 9]))

    settled = sequences.settle("house", {"1": answer(8, 9, after=3, oldest=8)})

    assert (settled.missing, settled.lost) == (frozenset(), {"1"})
    assert sequences.numbers("house") == {"1": Numbers(9)}
    assert sequences.gaps == {}


def test_a_jump_of_numbers_after_a_crash_loses_nothing(
    writer: Writer, sequences: Sequences
) -> None:
    writer.write(readings([1008]))

    settled = sequences.settle("house", {"1": answer(1008, after=3)})

    assert settled == (frozenset(), frozenset())
    assert sequences.numbers("house") == {"1": Numbers(1008)}


def test_what_was_sent_and_has_not_arrived_is_missing(sequences: Sequences) -> None:
    settled = sequences.settle("house", {"1": answer(4, 5, after=3)})

    assert settled.missing == {"1"}
    assert sequences.numbers("house") == {"1": Numbers(3)}


def test_an_answer_that_does_not_reach_down_to_the_gap_leaves_it_open(
    writer: Writer, sequences: Sequences
) -> None:
    writer.write(readings([7]))

    settled = sequences.settle("house", {"1": answer(7, after=6)})

    assert settled.missing == {"1"}
    assert sequences.numbers("house") == {"1": Numbers(3, ((7, 7),))}


def test_a_meter_can_be_abandoned(sequences: Sequences) -> None:
    settled = sequences.settle("house", {"1": answer(4, 5, after=3)}, abandoned={"1"})

    assert (settled.missing, settled.lost) == (frozenset(), {"1"})
    assert sequences.numbers("house") == {"1": Numbers(5)}


def test_answers_about_unknown_meters_change_nothing(sequences: Sequences) -> None:
    assert sequences.settle("house", {"9": answer(1, 2)}) == (frozenset(), frozenset())


def test_a_meter_without_a_bridge_is_never_asked_for(writer: Writer) -> None:
    writer.write(readings([5, 9, 2], meter="esp"))

    assert writer.sequences.gaps == {}


def test_a_reading_stamped_on_arrival_is_known_by_its_number(
    writer: Writer, sequences: Sequences
) -> None:
    again = readings([50], stamped_on_arrival=True)[0]
    late = Reading("1", again.ts + timedelta(hours=1), again.values, 50, stamped_on_arrival=True)

    assert writer.write([again]) == 1
    assert writer.write([late]) == 0
    assert sequences.gaps
