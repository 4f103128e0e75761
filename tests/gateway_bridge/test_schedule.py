"""The schedule holds its grid, is fair where it cannot, and puts meters that answer first."""

from hypothesis import given
from hypothesis import strategies as st

from gateway_bridge.polling.schedule import Job, Overload, Schedule


def run(
    schedule: Schedule[str], until_s: float, lasts_s: dict[str, float]
) -> tuple[dict[str, list[float]], float]:
    """Run a line on which each job lasts as given; return the starts and the busy time."""
    now_s, busy_s = 0.0, 0.0
    starts: dict[str, list[float]] = {key: [] for key in lasts_s}
    while now_s < until_s:
        key = schedule.next(now_s)
        if key is None:
            now_s = max(schedule.idle_until(now_s), now_s + 1e-4)
            continue
        starts[str(key)].append(now_s)
        now_s += lasts_s[str(key)]
        busy_s += lasts_s[str(key)]
        schedule.done(key, now_s)
    return starts, busy_s / now_s


def line_of(meters: int, interval_s: float = 1.0) -> Schedule[str]:
    schedule: Schedule[str] = Schedule()
    for n in range(meters):
        grid_s = n * interval_s / meters
        schedule.add(f"m{n}", interval_s=interval_s, grid_s=grid_s, first_s=0.0)
    return schedule


def test_ticks_never_drift_from_the_grid() -> None:
    starts, _ = run(line_of(3), 3600, {"m0": 0.23, "m1": 0.23, "m2": 0.23})

    assert [round(start % 1.0, 6) for start in starts["m1"][5:]] == [round(1 / 3, 6)] * (
        len(starts["m1"]) - 5
    )
    assert 3600 <= len(starts["m0"]) <= 3601


def test_every_meter_is_read_at_once_at_the_start() -> None:
    starts, _ = run(line_of(3, interval_s=60), 10, {"m0": 0.2, "m1": 0.2, "m2": 0.2})

    assert max(times[0] for times in starts.values()) < 0.5


def test_a_late_run_skips_nothing_while_the_line_has_time() -> None:
    schedule = line_of(3)
    schedule.add("slow", interval_s=10, grid_s=0.5, first_s=0.0)

    starts, _ = run(schedule, 300, {"m0": 0.23, "m1": 0.23, "m2": 0.23, "slow": 0.25})

    assert schedule.skipped == 0
    assert all(len(starts[f"m{n}"]) in (300, 301) for n in range(3))
    assert len(starts["slow"]) in (30, 31)


@given(st.integers(2, 12), st.floats(1.05, 4))
def test_an_overloaded_line_is_busy_and_fair_and_counts_what_it_skips(
    meters: int, load: float
) -> None:
    schedule = line_of(meters)

    starts, busy = run(schedule, 120, {f"m{n}": load / meters for n in range(meters)})

    rates = [len(times) for times in starts.values()]
    assert busy >= 0.97
    assert max(rates) - min(rates) <= 0.05 * max(rates) + 1
    assert schedule.skipped > 0


def test_a_single_meter_polled_too_often_is_read_back_to_back() -> None:
    _, busy = run(line_of(1, interval_s=0.1), 60, {"m0": 0.231})

    assert busy >= 0.99


def test_the_slow_group_gets_its_turn_on_a_full_line() -> None:
    schedule = line_of(8)
    for n in range(8):
        schedule.add(f"s{n}", interval_s=10, grid_s=n * 1.25, first_s=0.0)
    lasts_s = {f"m{n}": 0.231 for n in range(8)} | {f"s{n}": 0.244 for n in range(8)}

    starts, _ = run(schedule, 300, lasts_s)

    slow = [len(starts[f"s{n}"]) for n in range(8)]
    assert min(slow) >= 12
    assert max(slow) - min(slow) <= 2


def test_a_second_try_comes_between_the_ticks_and_leaves_the_grid_alone() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("m", interval_s=60, grid_s=0, first_s=0)
    assert schedule.next(0) == "m"
    schedule.done("m", 1.0)

    schedule.again("m", 2.0)

    assert schedule.next(2.0) == "m"
    assert schedule.done("m", 2.5) == 0
    assert schedule.idle_until(2.5) == 60


def test_a_probe_waits_for_a_gap_that_is_long_enough() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("m", interval_s=2, grid_s=0, first_s=0)
    schedule.probe("dead", at_s=0.0, lasts_s=1.0)

    assert schedule.next(0.0) == "m"
    schedule.done("m", 0.2)
    assert schedule.next(0.2) == "dead"
    assert schedule.next(0.2) is None


def test_a_probe_comes_to_its_turn_on_a_full_line() -> None:
    schedule = line_of(4)
    schedule.probe("dead", at_s=1.0, lasts_s=1.0)

    starts, _ = run(schedule, 20, {f"m{n}": 0.4 for n in range(4)} | {"dead": 1.0})

    assert 1.0 < starts["dead"][0] < 8.0
    assert len(starts["dead"]) == 1


def test_a_line_is_overloaded_when_runs_without_a_fault_skip_ticks_one_after_another() -> None:
    overload, job = Overload(known=False), Job("live", "1")

    begins = [overload.begins(job, 1, clean=clean) for clean in [True, True, False] + [True] * 6]

    assert begins == [False] * 6 + [True] + [False] * 2
