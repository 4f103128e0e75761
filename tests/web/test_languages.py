"""The languages of the pages: every text has a translation, and none is left over."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.quantities import QUANTITIES
from tests.support.parts import ROOT
from web import languages
from web.pages import VIEWS

SCRIPTS = [path for path in (ROOT / "web/static").glob("*.js") if path.name != "language.js"]
ENGLISH_ALONE = {"docs.html"}
"""The description of the REST interface."""
TEMPLATES = [
    path for path in (ROOT / "web/templates").glob("*.html") if path.name not in ENGLISH_ALONE
]
PROGRAMS = [ROOT / "web/login.py", ROOT / "web/pages.py"]
OTHERS = [language for language in languages.known() if language != languages.ENGLISH]
CALLS = {
    suffix: re.compile(rf"(?<![\w.]){name}\(\s*")
    for suffix, name in {".js": "t", ".html": "_", ".py": "translated"}.items()
}
LITERAL = re.compile(r'(?:\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'))+')
PART = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')
SHOWN = re.compile(r">\s*([A-Z][a-z]+(?: [a-z]+)*)\s*<")


def texts(path: Path) -> Iterator[str]:
    """Yield the English texts that a file translates; each has to be a literal."""
    source = path.read_text()
    for call in CALLS[path.suffix].finditer(source):
        found = LITERAL.match(source, call.end())
        assert found, f"{path.name}: {source[call.start() : call.start() + 60]!r} has no literal"
        yield "".join(a or b for a, b in PART.findall(found[0])).replace('\\"', '"')


def english() -> set[str]:
    """Return all texts that pages may show in another language."""
    found = {text for path in (*SCRIPTS, *TEMPLATES, *PROGRAMS) for text in texts(path)}
    labels = {re.sub(r" (?:L\d(?:-L\d)?|N)$", "", quantity.label) for quantity in QUANTITIES}
    return found | labels | {view.title for view in VIEWS}


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_each_text_and_no_other(language: str) -> None:
    translations = languages.texts(language)

    assert english() - translations.keys() == set()
    assert translations.keys() - english() == set()


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_shows_the_same_values(language: str) -> None:
    values = re.compile(r"\{\w+\}")

    for text, translation in languages.texts(language).items():
        assert sorted(values.findall(translation)) == sorted(values.findall(text)), text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_shows_a_text_that_is_not_translated(path: Path) -> None:
    source = re.sub(r"\{[{%].*?[}%]\}", "", path.read_text())

    assert set(SHOWN.findall(source)) - {"Meterflow"} == set()
