"""Report in one sentence that this Python or its pip is unsuitable, before the set-up fails.

Written so that a Python that is too old can read it.
"""

import re
import subprocess
import sys

OLDEST_PYTHON = (3, 11)
OLDEST_PIP = (22, 3)


def fault() -> "str | None":
    """Return what is wrong and what to do, or None."""
    here = sys.executable
    if sys.version_info[:2] < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return (
            f"Meterflow needs Python 3.11 or newer, and {here} is {found}. "
            "Select another one, as in: make run PYTHON=python3.13"
        )
    pip = subprocess.run([here, "-m", "pip", "--version"], capture_output=True, text=True)
    version = re.match(r"pip (\d+)\.(\d+)", pip.stdout)
    if not version:
        return (
            f"Meterflow needs pip, which {here} does not have. On Debian: apt install python3-pip"
        )
    if tuple(map(int, version.groups())) < OLDEST_PIP:
        return f"Meterflow needs pip 22.3 or newer, and the pip of {here} is {version.group()[4:]}."
    return None


if __name__ == "__main__":
    sys.exit(fault())
