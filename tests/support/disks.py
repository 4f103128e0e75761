"""Small disks in memory, for tests that fill them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mount(directory: Path, size: int) -> bool:
    """Mount a disk of so many bytes on a directory; False where this machine does not let us."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def fill(ballast: Path) -> None:
    """Write until nothing more goes onto the disk."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Let the disk of a directory be full for a while."""
    ballast = directory / "ballast"
    fill(ballast)
    try:
        yield
    finally:
        ballast.unlink()
