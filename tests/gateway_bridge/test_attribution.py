"""Whose answer is this? Each row is what happens on a line, and the verdict on the answer."""

from collections.abc import Callable

import pytest

from gateway_bridge.meter.plan import Block
from gateway_bridge.modbus.frames import INPUT, Frame, Request
from gateway_bridge.modbus.transport import Answered, Late, LineEvent, Sent, Stray, Unanswered
from gateway_bridge.polling.attribution import (
    FORGET_S,
    HOLD_SHARE,
    OWED_S,
    STRAYS_TO_REPORT,
    Attribution,
    Claim,
    Verdict,
)

ACCEPT, HOLD, REJECT = Verdict.ACCEPT, Verdict.HOLD, Verdict.REJECT
REQUEST_S = 0.2
HELD_S = REQUEST_S * HOLD_SHARE
REQUESTS = (Block(0, 76), Block(0, 78), Block(0, 80))

Happening = Callable[["OneLine"], None]


class OneLine:
    """An attribution, the time, and the latest claim on answers of unit 1."""

    def __init__(self, *, ids: bool | None = False, exclusive: bool = False) -> None:
        self.attribution = Attribution(exclusive=exclusive)
        self.ids = ids
        self.now_s = 1000.0
        self.claim: Claim | None = None

    def note(self, event: LineEvent) -> None:
        self.attribution.note(event)

    def verdict(self) -> Verdict:
        if self.claim is None:
            return ACCEPT
        return self.attribution.verdict(self.claim, self.now_s)


def frame(unit: int, count: int, data: str) -> Frame:
    return Frame(unit, bytes([INPUT, 2 * count]) + data.encode().ljust(2 * count))


def claims(line: OneLine) -> None:
    line.claim = line.attribution.claim(1)


def ends(line: OneLine) -> None:
    """The reading is complete: its last answer has just come."""
    if line.claim:
        line.attribution.complete(line.claim, REQUEST_S, line.now_s)


def chooses(line: OneLine) -> None:
    line.attribution.choose(1, REQUESTS, line.now_s)


def sent(count: int = 76, unit: int = 1) -> Happening:
    return lambda line: line.note(Sent(Request(unit, INPUT, count), line.ids))


def answered(data: str, count: int = 76, unit: int = 1) -> Happening:
    return lambda line: line.note(Answered(frame(unit, count, data), line.ids))


def refused(code: int, unit: int = 1) -> Happening:
    return lambda line: line.note(Answered(Frame(unit, bytes([INPUT | 0x80, code])), line.ids))


def stray(data: str, count: int = 76, unit: int = 1) -> Happening:
    return lambda line: line.note(Stray(frame(unit, count, data), line.now_s, line.ids))


def late(data: str, count: int = 76, unit: int = 1) -> Happening:
    return lambda line: line.note(Late(frame(unit, count, data), line.ids))


def timed_out(count: int = 76, unit: int = 1, *, misfit: bool = False) -> Happening:
    request = Request(unit, INPUT, count)
    return lambda line: line.note(Unanswered(request, True, misfit, line.ids))


def failed(count: int = 76, unit: int = 1) -> Happening:
    return lambda line: line.note(Unanswered(Request(unit, INPUT, count), False, False, line.ids))


def passes(seconds: float) -> Happening:
    def happen(line: OneLine) -> None:
        line.now_s += seconds

    return happen


def ids(echoed: bool | None) -> Happening:
    def happen(line: OneLine) -> None:
        line.ids = echoed

    return happen


READ = [claims, sent(), answered("ours"), ends]
VERDICTS: dict[str, tuple[list[Happening], Verdict]] = {
    "the first answer that fits is held": (READ, HOLD),
    "it is held for less than the time of two requests": ([*READ, passes(0.99 * HELD_S)], HOLD),
    "it is accepted when nothing has followed": ([*READ, passes(HELD_S)], ACCEPT),
    "it is accepted when the next request is answered": (
        [*READ, sent(78, 2), answered("the neighbour's", 78, 2)],
        ACCEPT,
    ),
    "a next request without an answer proves nothing": ([*READ, sent(78, 2)], HOLD),
    "a second answer, as long and different, leaves two to choose from": (
        [*READ, stray("another's")],
        REJECT,
    ),
    "so it does while the next request is pending": (
        [*READ, sent(78, 2), stray("another's"), answered("the neighbour's", 78, 2)],
        REJECT,
    ),
    "and when it comes before the last block of the reading": (
        [claims, sent(), answered("ours"), stray("another's"), sent(78), answered("b", 78), ends],
        REJECT,
    ),
    "an answer that is still owed from a timeout is no excuse": (
        [sent(), timed_out(), *READ, stray("late, or another's")],
        REJECT,
    ),
    "the same answer twice is a doubled one": ([*READ, stray("ours"), passes(HELD_S)], ACCEPT),
    "an answer of another length is another client's": (
        [*READ, stray("b", 78), passes(HELD_S)],
        ACCEPT,
    ),
    "an answer of another unit is another client's": (
        [*READ, stray("b", unit=2), passes(HELD_S)],
        ACCEPT,
    ),
    "a second answer before the claim is an earlier reading's": (
        [sent(), answered("earlier"), stray("another's"), *READ, passes(HELD_S)],
        ACCEPT,
    ),
    "answers that bear their ids need no claim": (
        [ids(True), sent(), answered("a"), *READ],
        ACCEPT,
    ),
    "even if another client's answers arrive, too": (
        [ids(True), sent(), answered("a"), *READ, stray("another's")],
        ACCEPT,
    ),
    "ids that turn up during the first reading end the doubt": (
        [claims, sent(), ids(True), answered("ours"), stray("another's"), ends],
        ACCEPT,
    ),
    "ids that are gone bring back the doubt": (
        [ids(True), sent(), answered("a"), sent(), ids(False), failed(), *READ],
        HOLD,
    ),
}


@pytest.mark.parametrize(("happenings", "wanted"), VERDICTS.values(), ids=VERDICTS)
def test_what_becomes_of_an_answer(happenings: list[Happening], wanted: Verdict) -> None:
    line = OneLine()

    for happen in happenings:
        happen(line)

    assert line.verdict() is wanted


def test_a_serial_line_has_no_other_client() -> None:
    line = OneLine(exclusive=True)

    for happen in [*READ, stray("noise")]:
        happen(line)

    assert line.verdict() is ACCEPT


CHOICES: dict[str, tuple[list[Happening], int | None]] = {
    "the shortest request, at first": ([], 76),
    "not as long as the one before": ([sent(76)], 78),
    "not as long as the last one answered": (
        [chooses, sent(76), answered("a"), sent(78), timed_out(78)],
        80,
    ),
    "as long as an answered one that is not a block": ([sent(76), answered("a"), sent(2)], 76),
    "where all lengths are taken, not the one before": (
        [chooses, sent(76), answered("a"), sent(78), failed(78), sent(80)],
        78,
    ),
    "not as long as another client's": ([stray("b", 76)], 78),
    "another client's request to another meter does not matter": ([stray("b", 76, unit=2)], 76),
    "another client's length is free again after a while": (
        [stray("b", 76), passes(FORGET_S)],
        76,
    ),
    "nothing, where another client has all lengths": (
        [stray("b", 76), stray("b", 78), stray("b", 80)],
        None,
    ),
    "nothing, where it leaves only those that a late answer may have": (
        [stray("b", 76), stray("b", 78), sent(80)],
        None,
    ),
    "a stray counts when our own answer has come, too": (
        [sent(2), stray("b", 76), answered("a", 2)],
        78,
    ),
    "without ours it may have been ours, damaged": ([sent(2), stray("b", 76), failed(2)], 76),
    "a late answer is not another client's": (
        [sent(76), timed_out(76), stray("a", 76), sent(2)],
        76,
    ),
    "not as long as one whose answer may still arrive": (
        [chooses, sent(76), sent(78), answered("b", 78)],
        80,
    ),
    "an answer that has not arrived for long is given up": (
        [chooses, sent(76), sent(80), answered("b", 80), passes(OWED_S)],
        76,
    ),
    "an answer that has arrived late is no longer waited for": (
        [chooses, sent(76), sent(78), answered("b", 78), sent(80), stray("a", 76), sent(2)],
        76,
    ),
    "nor is one that is known by its id": (
        [ids(True), chooses, sent(76), timed_out(76), late("a", 76), sent(2)],
        76,
    ),
    "with ids, lengths do not matter": ([ids(True), stray("b", 76)], 76),
    "nor does a stray before the first answer that shows its id": (
        [ids(None), sent(2), stray("b", 76), ids(True), answered("a", 2)],
        76,
    ),
}


@pytest.mark.parametrize(("happenings", "wanted"), CHOICES.values(), ids=CHOICES)
def test_which_request_is_sent(happenings: list[Happening], wanted: int | None) -> None:
    line = OneLine()

    for happen in happenings:
        happen(line)

    chosen = line.attribution.choose(1, REQUESTS, line.now_s)
    assert (chosen.count if chosen else None) == wanted


SECONDS: dict[str, tuple[list[Happening], int | None]] = {
    "another length than the first request": ([], 78),
    "another than the request before, too": ([chooses, sent(78), answered("a", 78)], 80),
    "not as long as another client's": ([stray("b", 78)], 80),
    "with ids, another client's does not matter": ([ids(True), stray("b", 78)], 78),
    "none, where one is left whose answer may still arrive": (
        [chooses, sent(76), sent(78), answered("a", 76), sent(2), answered("b", 2)],
        None,
    ),
    "none, where no length is left": (
        [chooses, sent(78), timed_out(78), chooses, sent(80), answered("a", 80)],
        None,
    ),
}


@pytest.mark.parametrize(("happenings", "wanted"), SECONDS.values(), ids=SECONDS)
def test_which_request_is_sent_second(happenings: list[Happening], wanted: int | None) -> None:
    line = OneLine()
    for happen in happenings:
        happen(line)
    line.attribution.choose(1, REQUESTS, line.now_s)

    second = line.attribution.alternative(1, REQUESTS, line.now_s)

    assert (second.count if second else None) == wanted


def test_the_answer_that_comes_second_is_not_another_clients() -> None:
    line = OneLine()

    for _ in range(STRAYS_TO_REPORT):
        for happen in (chooses, sent(76), sent(78), answered("b", 78), stray("a", 76)):
            happen(line)

    assert not line.attribution.shared


FOREIGN = [stray(f"value {n}", 2) for n in range(STRAYS_TO_REPORT)]
SHARED: dict[str, tuple[list[Happening], bool]] = {
    "a few stray answers may be our own": (FOREIGN[1:], False),
    "several, with none of ours missing, are another client's": (FOREIGN, True),
    "also where answers bear ids": ([ids(True), *FOREIGN], True),
    "a timeout makes all of them doubtful": (
        [*FOREIGN[1:], sent(), timed_out(), FOREIGN[0]],
        False,
    ),
    "so does a gateway that reports one": ([*FOREIGN[1:], sent(), refused(11), FOREIGN[0]], False),
    "an answer that did not fit explains the timeout": (
        [*FOREIGN[1:], sent(), timed_out(misfit=True), FOREIGN[0]],
        True,
    ),
    "an exception is an answer of ours": ([*FOREIGN[1:], sent(), refused(2), FOREIGN[0]], True),
}


@pytest.mark.parametrize(("happenings", "wanted"), SHARED.values(), ids=SHARED)
def test_whether_a_gateway_is_shared(happenings: list[Happening], wanted: bool) -> None:
    line = OneLine()

    for happen in happenings:
        happen(line)

    assert line.attribution.shared is wanted
