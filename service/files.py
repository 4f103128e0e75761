"""Files and directories: whom a new one is readable for, and whether it has been replaced.

The mode of a new file does not depend on the umask; one that exists keeps its mode.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PRIVATE, PRIVATE_DIRECTORY = 0o600, 0o700
"""Modes for the owner alone."""
HISTORY, HISTORY_DIRECTORY = 0o640, 0o750
"""Modes of the history and its copies: a group may read them, such as one for backups."""
_LOG_HEAD, _FRAME_HEAD = 32, 24
"""Bytes of SQLite's log before all pages, and before each."""
_PLENTY = 10
_TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": ""}


def make_directory(path: Path, mode: int = PRIVATE_DIRECTORY) -> None:
    """Create a directory and its parents where they are missing."""
    for each in (*reversed(path.parents), path):
        if not each.is_dir():
            each.mkdir(mode, exist_ok=True)  # another program may do the same
            each.chmod(mode)


def create_file(path: Path, mode: int = PRIVATE) -> None:
    """Create an empty file where there is none.

    SQLite takes over such a file, and gives the files that it creates beside it the same mode.
    """
    with contextlib.suppress(FileExistsError):
        os.close(_create(path, mode))


@contextlib.contextmanager
def replacing(path: Path, mode: int = PRIVATE, *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name, or replaces one, when it is complete.

    A file that it replaces passes on its mode and owner. Nothing is left of one that breaks off.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(_create(part, mode), "w" if text else "wb", **_TEXT if text else {}) as file:
            yield file
            file.flush()
            _take_over(path, file.fileno())
        replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def replace(part: Path, path: Path) -> None:
    """Give a complete file its name; a power cut meanwhile leaves it, or the one of before."""
    sync(part)
    part.replace(path)
    with contextlib.suppress(OSError):  # not every file system on a network can
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a directory, are on the disk."""
    with _opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def sync_content(path: Path) -> None:
    """Wait until the content of a file is on the disk; the time of its last change may not be.

    Where the file has its blocks already, this writes nothing to the file system's journal.
    """
    with _opened(path, os.O_RDONLY) as descriptor:
        os.fdatasync(descriptor)


def reserve_log(path: Path, pages: int, page: int) -> None:
    """Give the log (-wal) of an SQLite file the blocks for so many pages, if there is much room.

    While a file grows, each sync also writes which blocks it has got and how many are left: as much
    again. Call this with the write lock: nobody else may write to the log meanwhile.
    """
    log, size = path.with_name(f"{path.name}-wal"), _LOG_HEAD + pages * (page + _FRAME_HEAD)
    with contextlib.suppress(OSError):
        if shutil.disk_usage(log.parent).free > _PLENTY * size:
            with _opened(log, os.O_RDWR) as descriptor:
                os.posix_fallocate(descriptor, 0, size)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file at a path, or None where there is no file.

    SQLite keeps writing to a file that was deleted or replaced: a writer compares identities.
    """
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _create(path: Path, mode: int) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def _take_over(path: Path, descriptor: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        os.fchmod(descriptor, found.st_mode & 0o777)
        os.fchown(descriptor, found.st_uid, found.st_gid)


def stamp_of(name: str) -> tuple[int, int, int] | None:
    """Return what changes with the content of a file; None where there is no file."""
    try:
        status = os.stat(name)  # noqa: PTH116  # a third of the time of Path.stat
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
