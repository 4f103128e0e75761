"""The hierarchy of meters: assumed roles, parents that do not fit, meters that come and go."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.meter_settings import Role
from contract.times import epoch_ms
from history.hierarchy import Site, are_standing, site_of, standing
from history.tables import Meter

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = "abcdefgh"


def meter(
    name: str,
    role: str | None = None,
    parent: str | None = None,
    *,
    first: datetime = NOW - 400 * DAY,
    last: datetime = NOW,
) -> Meter:
    return Meter(
        ord(name[0]),
        name,
        epoch_ms(first),
        epoch_ms(last),
        True,
        role=Role(role) if role else None,
        parent=parent,
    )


def roles(site: Site) -> dict[str, str]:
    return {name: node.role.value for name, node in site.nodes.items()}


@pytest.mark.parametrize(
    ("meters", "expected"),
    [
        ([meter("a")], {"a": "grid"}),
        ([meter("a"), meter("b", "production")], {"a": "grid", "b": "production"}),
        ([meter("a"), meter("b", None, "a")], {"a": "grid", "b": "consumer"}),
        ([meter("a"), meter("b")], {"a": "consumer", "b": "consumer"}),
        ([meter("a", "grid"), meter("b")], {"a": "grid", "b": "consumer"}),
        ([meter("a", "consumer")], {"a": "consumer"}),
        ([], {}),
    ],
)
def test_a_single_meter_without_role_and_parent_is_the_grids(
    meters: list[Meter], expected: dict[str, str]
) -> None:
    assert roles(site_of(meters)) == expected


def test_a_parent_that_is_unknown_or_in_a_circle_is_left_out() -> None:
    meters = [
        meter("a", None, "b"),
        meter("b", None, "a"),
        meter("c", None, "a"),
        meter("d", None, "x"),
    ]

    site = site_of(meters)

    assert {name: node.parent for name, node in site.nodes.items()} == {
        "a": None, "b": None, "c": "a", "d": None,
    }  # fmt: skip
    assert site.nodes["a"].children == ("c",)


def test_of_meters_of_one_role_below_one_another_the_outer_one_counts() -> None:
    site = site_of(
        [
            meter("a", "grid"),
            meter("b", "consumer", "a"),
            meter("c", "grid", "b"),
            meter("d", "consumer", "b"),
            meter("e", "production", "d"),
            meter("f", "consumer", "e"),
        ]
    )

    assert [node.meter_id for node in site.tops(Role.GRID)] == ["a"]
    assert [node.meter_id for node in site.tops(Role.CONSUMER)] == ["b", "f"]
    assert site.parts[Role.GRID] == [("a", [])]
    assert site.parts[Role.CONSUMER] == [("b", ["c", "e"]), ("f", [])]


@given(st.lists(st.tuples(st.sampled_from([None, *Role]), st.sampled_from([None, *NAMES]))))
def test_every_meter_has_one_place_whatever_its_parent(
    given_meters: list[tuple[Role | None, str | None]],
) -> None:
    names = [f"{NAMES[n % 8]}{n // 8 or ''}" for n in range(len(given_meters))]
    site = site_of(meter(name, *each) for name, each in zip(names, given_meters, strict=True))

    assert sorted(site.nodes) == sorted(names)
    children = [child for node in site.nodes.values() for child in node.children]
    assert len(children) == len(set(children))
    seen = set[str]()
    for name, node in site.nodes.items():
        assert node.parent is None or node.parent in seen
        seen.add(name)


def test_a_meter_is_there_from_its_first_reading_until_it_is_removed() -> None:
    meters = [
        meter("a", "grid"),
        meter("b", None, "a", first=NOW - 10 * DAY),
        meter("c", None, "b"),
        meter("d", None, "a", last=NOW - 40 * DAY),
        meter("e", None, "d", last=NOW - 5 * DAY),
    ]

    def there(days_ago: float) -> dict[str, str | None]:
        since = NOW - days_ago * DAY
        there = are_standing(meters, since, since + DAY, NOW)
        return {m.name: m.parent for m in standing(meters, there)}

    assert there(1) == {"a": None, "b": "a", "c": "b", "e": "a"}
    assert there(20) == {"a": None, "c": "a", "e": "a"}
    assert there(41) == {"a": None, "c": "a", "d": "a", "e": "d"}
    assert there(500) == {}
