"""Reads the blocks of a damaged journal, page by page, whichever pages are lost.

SQLite refuses a file without its first page, and a table with a damaged inner page. But a row of
the journal is in one leaf page, and what does not fit there in a chain of overflow pages: each can
be read without the rest. The checksum in a block tells whether all of it is right.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

PAGE = 1024
"""The size of a page where the first one is lost."""
_MAGIC = b"SQLite format 3\0"
_LEAF = 0x0D
_BZIP2 = b"BZh"
_WAL_HEAD = struct.Struct(">8xI4xQ8x")
"""Of the file that is written ahead: the size of a page, and the salt of its frames."""
_FRAME_HEAD = struct.Struct(">IIQ8x")
"""The number of a page, the size of the file after a commit, and the salt."""
_COLUMNS = 4


class _Pages:
    """The pages of a file, with those that were written ahead of it."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        size = int.from_bytes(self._content[16:18], "big")
        known = self._content.startswith(_MAGIC) and size >= 512 and not size & (size - 1)
        self.size = size if known else PAGE
        log = path.with_name(f"{path.name}-wal")
        self._written = _written_ahead(log.read_bytes(), self.size) if log.exists() else {}
        self.number = max(len(self._content) // self.size, *self._written, 0)

    def __getitem__(self, number: int) -> bytes:
        """Return a page, counted from 1; empty where there is none."""
        if number in self._written:
            return self._written[number]
        return self._content[(number - 1) * self.size : number * self.size] if number else b""


def blocks_of(path: Path) -> Iterator[bytes]:
    """Yield the contents of all blocks that are found, the oldest first; some may be damaged."""
    pages = _Pages(path)
    places = [
        (block_id, number, place, length)
        for number in range(1, pages.number + 1)
        for block_id, place, length in _rows_in(pages[number], pages)
    ]
    latest: tuple[int, bytes] | None = None
    for block_id, number, place, length in sorted(places):
        with contextlib.suppress(IndexError):
            block = _last_column(_row(pages, number, place, length))
            if block.startswith(_BZIP2) and (block_id, block) != latest:
                latest = block_id, block
                yield block


def _written_ahead(log: bytes, size: int) -> dict[int, bytes]:
    """Return the pages that were written ahead, in their last version."""
    if len(log) < _WAL_HEAD.size:
        return {}
    _, salt = _WAL_HEAD.unpack_from(log)
    pages = {}
    for place in range(_WAL_HEAD.size, len(log) - size, _FRAME_HEAD.size + size):
        number, _, frame_salt = _FRAME_HEAD.unpack_from(log, place)
        if number and frame_salt == salt:  # zeros follow where the log is not filled yet
            begin = place + _FRAME_HEAD.size
            pages[number] = log[begin : begin + size]
    return pages


def _rows_in(page: bytes, pages: _Pages) -> Iterator[tuple[int, int, int]]:
    """Yield the id, the place and the length of each row that begins in a page."""
    if len(page) < pages.size or page[0] != _LEAF:
        return
    for cell in range(int.from_bytes(page[3:5], "big")):
        with contextlib.suppress(IndexError):
            length, place = _number(page, int.from_bytes(page[8 + 2 * cell : 10 + 2 * cell], "big"))
            block_id, place = _number(page, place)
            if length <= pages.number * pages.size:
                yield block_id, place, length


def _row(pages: _Pages, number: int, place: int, length: int) -> bytes:
    """Return the row that begins at a place, with its overflow pages as far as they are there."""
    page, size = pages[number], pages.size
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    here = least + (length - least) % (size - 4)
    here = length if length <= most else here if here <= most else least
    parts, left = [page[place : place + here]], length - here
    following = int.from_bytes(page[place + here : place + here + 4], "big")
    while left > 0 and (part := pages[following]):
        parts.append(part[4 : 4 + min(left, size - 4)])
        left -= size - 4
        following = int.from_bytes(part[:4], "big")
    return b"".join(parts)


def _last_column(record: bytes) -> bytes:
    """Return the last of a row's four columns."""
    head, place = _number(record, 0)
    skipped = head
    for _ in range(_COLUMNS - 1):
        kind, place = _number(record, place)
        skipped += _length(kind)
    kind, _ = _number(record, place)
    return record[skipped : skipped + _length(kind)]


def _length(kind: int) -> int:
    """Return the bytes of a value of a serial type."""
    return (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return the variable-length number at a place, and the place after it."""
    number = 0
    for count in range(9):
        byte = content[place + count]
        if count == 8:
            return number << 8 | byte, place + 9
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return number, place + count + 1
