"""A journal of a running bridge, which has the file to itself."""

from pathlib import Path

from gateway_bridge.publishing.journal_file import Kept, unpack
from tests.support.held_files import rows_in


def journaled(path: Path) -> list[Kept]:
    """Return the readings that are in the file; none without a file."""
    blocks = rows_in(path, "SELECT readings FROM blocks ORDER BY id")
    return [kept for (block,) in blocks for kept in unpack(block)]
