"""The languages of the pages: a file each, such as de.json, from the English text to another one.

The texts of the program are English. A text that a file lacks stays English. `{name}` stands for
a value that the page puts there.
"""

import json
import re
from functools import cache
from pathlib import Path

from flask import request

FOLDER = Path(__file__).parent
ENGLISH = "en"
_PHASE = re.compile(r" (?:L\d(?:-L\d)?|N)$")


@cache
def known() -> tuple[str, ...]:
    """Return the codes of the languages, as in "de" (ISO 639), English first."""
    return (ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def texts(language: str) -> dict[str, str]:
    """Return a language's texts by the English ones."""
    if language == ENGLISH:
        return {}
    found = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return {str(english): str(other) for english, other in found.items()}


def requested() -> str:
    """Return the language that the browser of the current request likes best."""
    return request.accept_languages.best_match(known(), default=ENGLISH)


def text(english: str, language: str) -> str:
    """Return a text in a language; English where that lacks it."""
    return texts(language).get(english, english)


def label(english: str, language: str) -> str:
    """Return the label of a quantity; that of a phase, such as L1, is not translated."""
    found = _PHASE.search(english)
    base, phase = (english[: found.start()], found[0]) if found else (english, "")
    return text(base, language) + phase


def translated(english: str) -> str:
    """Return a text in the language of the current request."""
    return text(english, requested())
