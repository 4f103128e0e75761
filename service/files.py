"""Files that may be replaced while they are open."""

import contextlib
from pathlib import Path


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at a path, or None where there is no file.

    SQLite keeps writing to a file that was deleted or replaced: a writer compares identities.
    """
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
