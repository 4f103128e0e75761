"""Damaged copies of a file, as a failing disk leaves them."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

PAGE = 1024


def flipped(content: bytes, dice: Random) -> bytes:
    """Return the content with one bit changed."""
    place, bit = dice.randrange(len(content)), dice.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def truncated(content: bytes, dice: Random) -> bytes:
    """Return the beginning of the content."""
    return content[: dice.randrange(len(content))]


def without_page(content: bytes, number: int, size: int = PAGE) -> bytes:
    """Return the content with a page of zeros."""
    end = min((number + 1) * size, len(content))
    return content[: number * size] + bytes(end - number * size) + content[end:]


def damaged(path: Path, flips: int, dice: Random) -> Iterator[tuple[str, bytes]]:
    """Yield damaged versions of a file: a bit, the end, a page; and what was done."""
    content = path.read_bytes()
    for number in range(flips):
        yield f"bit {number}", flipped(content, dice)
    for number in range(flips // 6):
        yield f"end {number}", truncated(content, dice)
    pages = -(-len(content) // PAGE)
    for number in sorted(dice.sample(range(pages), min(max(flips // 3, 1), pages))):
        yield f"page {number}", without_page(content, number)
