"""Misspelt words: which known word a person probably meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the known word that is most like `word`, or None where none is `likeness` like it."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message that suggests a known word; empty where none is close."""
    meant = closest(word, known)
    return f"; did you mean {meant}?" if meant else ""
