"""A journal of a running bridge, which has the file to itself: read from a copy."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from gateway_bridge.publishing.journal_file import Kept, unpack


def journaled(path: Path) -> list[Kept]:
    """Return the readings that are in the file; none without a file."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, path.name)
        try:
            for suffix in ("-wal", ""):  # in this order nothing is between them in a checkpoint
                source = path.with_name(path.name + suffix)
                if source.exists():
                    shutil.copy(source, copy.with_name(copy.name + suffix))
            with closing(sqlite3.connect(copy)) as database:
                blocks = database.execute("SELECT readings FROM blocks ORDER BY id").fetchall()
        except (FileNotFoundError, sqlite3.Error):
            return []
    return [kept for (block,) in blocks for kept in unpack(block)]
