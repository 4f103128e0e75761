"""The pages read labels and units from the catalogue; none of their files repeats one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.quantities import QUANTITIES
from tests.support.parts import ROOT

FILES = [*ROOT.glob("web/static/*.js"), *ROOT.glob("web/templates/*.html")]
COMMENT = re.compile(r"/\*.*?\*/|//[^\n\"'`]*$", re.DOTALL | re.MULTILINE)
LITERAL = re.compile(
    r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'|`((?:[^`\\]|\\.)*)`|/((?:[^/\\\n]|\\.)+)/[.;,)]'
)
MARKUP = re.compile(r'>([^<>]*)<|(?:aria-label|title|alt|placeholder)="([^"]*)"')
COMPUTED = re.compile(r"\$\{.*?\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)

LABELS = re.compile(rf"\b({'|'.join(sorted({q.label for q in QUANTITIES}, key=len))})\b")
UNITS = "|".join(re.escape(unit) for unit in sorted({q.kind.unit for q in QUANTITIES} - {""}))
UNIT = re.compile(rf"(?:^|[\s\d|(]|\\u202f|\0)[kM]?(?:{UNITS})(?:$|[|)])")


def texts(path: Path, source: str) -> Iterator[str]:
    """Yield what a file may show to a person: literals of a script, texts of a template."""
    pattern = MARKUP if path.suffix == ".html" else LITERAL
    if path.suffix == ".js":
        source = COMMENT.sub("", source)
    for found in pattern.finditer(COMPUTED.sub("\0", source)):
        yield next(group for group in found.groups() if group is not None)


def repeated(path: Path, source: str) -> list[str]:
    return [text for text in texts(path, source) if LABELS.search(text) or UNIT.search(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_repeats_no_label_or_unit_of_the_catalogue(path: Path) -> None:
    assert repeated(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("page.js", 'const ROWS = [["voltage", "V"]];'),
        ("page.js", 'pairs([["energy_import", "Energy import"]]);'),
        ("page.js", "text = `${value} kWh`;"),
        ("page.js", "text = `${value}\\u202fW`;"),
        ("page.js", "if (unit === 'var') scale();"),
        ("page.js", "if (/^(W|VA)$/.test(unit)) scale();"),
        ("page.js", "const label = `Power, ${span}`;"),
        ("page.html", "<h2>Power</h2>"),
        ("page.html", '<div role="img" aria-label="Voltage of the last minutes">'),
        ("page.html", "<span>{{ value }} kWh</span>"),
    ],
)
def test_repeated_label_or_unit_is_found(name: str, source: str) -> None:
    assert repeated(Path(name), source)


def test_names_of_quantities_and_sentences_are_not_labels() -> None:
    source = 'has("power_l1"); notice("No reading received from a meter"); path(`${id}/series`);'

    assert repeated(Path("page.js"), source) == []
