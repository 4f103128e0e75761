"""Under any fault on the bus, no value is published that its meter did not measure then."""

import random

from tests.support.faulted import suffer_all
from tests.support.leaping import run_leaping

POLLS, LINES = 10_000, 10


def test_ten_thousand_randomly_faulted_polls_publish_no_wrong_value() -> None:
    seed = random.SystemRandom().randrange(1_000_000)

    truths = run_leaping(suffer_all(seed, POLLS, LINES))

    wrong = [problem for truth in truths for problem in truth.wrong]
    assert not wrong, f"seed {seed}: {len(wrong)} wrong, first {wrong[0]}"
    assert sum(truth.polls for truth in truths) >= POLLS
    assert sum(truth.values for truth in truths) > POLLS  # and the bus was not just silent
