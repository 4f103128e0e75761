"""The colours of the style sheet: phases and directions differ, in both themes."""

import itertools
import re

import pytest

from tests.support.parts import ROOT

STYLE = (ROOT / "web" / "static" / "meterflow.css").read_text()
FLOWS, PHASES = ("import", "export"), ("l1", "l2", "l3")
TWINS = 0.15
"""Distance in Oklab below which two colours of lines pass for one another."""
LEAST_CONTRAST = 3.0
"""Of a graphic to its background (WCAG 2.2, 1.4.11)."""


def colour(name: str, theme: int) -> tuple[float, float, float]:
    """Return the linear red, green and blue of a variable in the light (0) or dark (1) theme."""
    found = re.search(rf"--{name}: light-dark\((#\w{{6}}), (#\w{{6}})\);", STYLE)
    assert found, name
    red, green, blue = (int(found[theme + 1][n : n + 2], 16) / 255 for n in (1, 3, 5))
    return linear(red), linear(green), linear(blue)


def linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def luminance(rgb: tuple[float, float, float]) -> float:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def oklab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = rgb
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def distance(one: str, other: str, theme: int) -> float:
    pair = zip(oklab(colour(one, theme)), oklab(colour(other, theme)), strict=True)
    return sum((a - b) ** 2 for a, b in pair) ** 0.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_no_phase_is_the_twin_of_another_or_of_a_direction(theme: int) -> None:
    pairs = itertools.combinations((*FLOWS, *PHASES), 2)

    twins = {pair for pair in pairs if distance(*pair, theme) < TWINS}

    assert twins == set()


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*FLOWS, *PHASES])
def test_lines_and_bars_stand_out_from_the_panel(name: str, theme: int) -> None:
    low, high = sorted(luminance(colour(each, theme)) for each in (name, "panel"))

    assert (high + 0.05) / (low + 0.05) >= LEAST_CONTRAST
