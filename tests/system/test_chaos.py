"""A short chaos on either broker; `make chaos` is the long one."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

from tests.support.parts import require
from tests.system import chaos

FAULTS_S = 6
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10_000))


def test_no_reading_is_lost_stored_twice_or_changed_whichever_part_dies() -> None:
    require("mosquitto")

    with ThreadPoolExecutor() as both:
        started = [
            both.submit(chaos.run, chaos.SetUp(kind), FAULTS_S, SEED) for kind in chaos.BROKERS
        ]
        outcomes = [each.result() for each in started]

    for outcome in outcomes:
        assert outcome.good, f"CHAOS_SEED={SEED}: {outcome}"
        assert outcome.stored > 20, outcome
