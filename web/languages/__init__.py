"""The languages of the pages: a file each, such as de.json, from the English text to another one.

The texts of the program are English. A text that a file lacks stays English. `{name}` stands for
a value that the page puts there.
"""

import json
from functools import cache
from pathlib import Path

from flask import request

FOLDER = Path(__file__).parent
ENGLISH = "en"


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
    return {str(english): str(text) for english, text in found.items()}


def requested() -> str:
    """Return the language that the browser of the current request likes best."""
    return request.accept_languages.best_match(known(), default=ENGLISH)


def translated(text: str) -> str:
    """Return a text in the language of the current request."""
    return texts(requested()).get(text, text)
