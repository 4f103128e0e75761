"""Cells of CSV files that a spreadsheet shows as they are."""

from collections.abc import Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cells(row: Sequence[Any]) -> list[Any]:
    """Return a row; a text that a spreadsheet would take for a formula begins with `'`."""
    return [f"'{cell}" if isinstance(cell, str) and cell[:1] in _FORMULA else cell for cell in row]


def text_of(cell: str) -> str:
    """Return the text of such a cell."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell
