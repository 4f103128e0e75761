"""How much memory `meterflow run` takes with three simulated meters, beside bare Pythons.

    python benchmarks/footprint.py [--seconds 60]

Memory is the proportional set size (PSS): a page that several processes share counts once in all.
The reference is a Python that has imported nothing, once for each process of the run.
"""

import argparse
import subprocess
import sys

from benchmarks.figures import Verdict, line, title
from benchmarks.whole import BROKERS, Process, running

MOST_MB = 160
IDLE = "import sys; print(flush=True); sys.stdin.read()"


def bare_mb(count: int) -> float:
    """Return the memory of so many Pythons that do nothing."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", IDLE]
    idle = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(count)]
    try:
        for each in idle:
            assert each.stdout
            each.stdout.readline()
        return sum(Process("idle", each.pid).pss_mb for each in idle)
    finally:
        for each in idle:
            each.communicate()


def main() -> None:
    """Run the whole on each broker and print the memory of each process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40, help="age at which to measure, in s")
    options = parser.parse_args()
    verdict = Verdict()
    for broker in BROKERS:
        with running(broker, options.seconds) as whole:
            taken = {each.name: each.pss_mb for each in whole.processes()}
        title(f"PSS {options.seconds:.0f} s after the start, broker: {broker}")
        in_all, bare = sum(taken.values()), bare_mb(len(taken))
        for name, mb in taken.items():
            line(name, f"{mb:.1f} MB", f"{100 * mb / in_all:.0f} % of all")
        beside = f"{in_all / bare:.1f} x {len(taken)} bare Pythons ({bare:.0f} MB)"
        verdict.figure("all", f"{in_all:.0f} MB", beside, f"<= {MOST_MB} MB", ok=in_all <= MOST_MB)
    verdict.end()


if __name__ == "__main__":
    main()
