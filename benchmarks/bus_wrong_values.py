"""How many wrong values are published under random faults, of all that are published.

    python benchmarks/bus_wrong_values.py [--polls 100000] [--seed N]

Twenty lines of two meters, half of them in RTU over TCP, on a clock that leaps over every wait.
"""

import argparse
import logging
import random
import sys

from benchmarks.figures import Verdict, title
from tests.support.faulted import suffer_all
from tests.support.leaping import run_leaping

LINES = 20


def main() -> None:
    """Poll the faulty lines and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    logging.getLogger("gateway_bridge").setLevel(logging.CRITICAL)
    truths = run_leaping(suffer_all(options.seed, options.polls, LINES))
    wrong = [problem for truth in truths for problem in truth.wrong]
    title(f"Values that no meter measured, under random faults (seed {options.seed})")
    values = sum(truth.values for truth in truths)
    polls = sum(truth.polls for truth in truths)
    verdict = Verdict()
    beside = f"of {values} values from {polls} polls"
    verdict.figure("wrong values", str(len(wrong)), beside, "0", ok=not wrong)
    sys.stdout.writelines(f"  {problem}\n" for problem in wrong[:5])
    verdict.end()


if __name__ == "__main__":
    main()
