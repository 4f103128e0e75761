"""Control characters of other people's text are shown, not obeyed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.escaping import escaped, escaped_json, escaped_lines

CONTROLS = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    *"\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]
wild = st.text(st.characters() | st.sampled_from(CONTROLS))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Küche ⚡ 12 °C", "Küche ⚡ 12 °C"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("a\u2028b", "a\\u2028b"),
        ("meter\u202e1", "meter\\u202e1"),
        ("half \udc80", "half \\udc80"),
    ],
)
def test_a_control_character_is_shown_as_its_escape_sequence(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(wild)
def test_escaped_text_is_one_line_without_any_control_character(text: str) -> None:
    shown = escaped(text)

    assert not set(shown) & set(CONTROLS)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(wild)
def test_line_breaks_can_be_kept(text: str) -> None:
    assert escaped_lines(text).count("\n") == text.count("\n")
    assert not set(escaped_lines(text)) & (set(CONTROLS) - {"\n"})


@given(wild)
def test_escaped_json_has_the_same_content(text: str) -> None:
    shown = escaped_json(json.dumps({"name": text}, indent=2, ensure_ascii=False))

    assert json.loads(shown) == {"name": text}
    assert not set(shown) & (set(CONTROLS) - {"\n"})
