"""The meters of a bridge, from its info: whatever the payload is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.bridge_info import meters_in


def test_the_meters_of_a_bridge_are_in_its_info() -> None:
    assert meters_in(b'{"version": "1", "meters": ["1", "house-2"], "polls": 7}') == [
        "1",
        "house-2",
    ]


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"7", b'{"meters": 7}', b'{"meters": [1]}', b"\xff", b"[" * 100_000]
)
def test_anything_else_has_no_meters(payload: bytes) -> None:
    assert meters_in(payload) == []


@given(st.lists(st.text(max_size=40)))
def test_ids_that_no_meter_can_have_are_left_out(names: list[str]) -> None:
    found = meters_in(json.dumps({"meters": [*names, "good"]}).encode())

    assert found[-1:] == ["good"]
    assert all(name.isascii() and len(name) <= 32 for name in found)
