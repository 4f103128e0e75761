"""Files that may be replaced while they are open."""

import contextlib
import os
from pathlib import Path


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at a path, or None where there is no file.

    SQLite keeps writing to a file that was deleted or replaced: a writer compares identities.
    """
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def replace_text(path: Path, text: str) -> None:
    """Replace the content of a file at once; a reader sees the old content or the new one.

    The file keeps its owner and mode; a new file has mode 0600, a new folder 0700. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    if path.exists():
        status = path.stat()
        draft.chmod(status.st_mode & 0o777)
        os.chown(draft, status.st_uid, status.st_gid)
    draft.replace(path)
