"""Files that appear under their name only when they are complete."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from history.errors import StorageError

_TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": ""}


@contextlib.contextmanager
def new_file(path: Path, *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file to write, in place of one that is there; nothing is left of one that breaks off.

    Raises StorageError where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w" if text else "wb", **_TEXT if text else {}) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
