"""Under any fault on the bus, no value is published that its meter did not measure then."""

from tests.support.faulted import suffer_all
from tests.support.leaping import run_leaping
from tests.support.seeds import seed

POLLS, LINES = 10_000, 10
SEED = seed("FAULTS_SEED")


def test_ten_thousand_randomly_faulted_polls_publish_no_wrong_value() -> None:
    truths = run_leaping(suffer_all(SEED, POLLS, LINES))

    wrong = [problem for truth in truths for problem in truth.wrong]
    assert not wrong, f"FAULTS_SEED={SEED}: {len(wrong)} wrong, first {wrong[0]}"
    assert sum(truth.polls for truth in truths) >= POLLS
    assert sum(truth.values for truth in truths) > POLLS  # and the bus was not just silent
