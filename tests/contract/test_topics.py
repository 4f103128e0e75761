"""Topics: built, taken apart and filtered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import topics

meter_ids = st.from_regex(topics.METER_ID, fullmatch=True)
leaves = st.from_regex(topics.QUANTITY, fullmatch=True)


@given(meter_ids, leaves)
def test_a_topic_that_was_built_can_be_parsed(meter_id: str, leaf: str) -> None:
    assert topics.parse(topics.scalar(meter_id, leaf)) == (meter_id, leaf)


@given(st.text())
def test_parsing_never_fails_for_any_topic(topic: str) -> None:
    parts = topics.parse(topic)

    if isinstance(parts, topics.ServiceTopic):
        assert topic == f"meters/_{parts.service}/{parts.name}/{parts.leaf}"
    else:
        assert parts is None or topics.scalar(*parts) == topic


@given(meter_ids, leaves)
def test_a_topic_of_a_service_can_be_parsed(name: str, leaf: str) -> None:
    assert topics.parse(topics.bridge(name, leaf)) == ("bridge", name, leaf)
    assert topics.parse(topics.recorder(name, leaf)) == ("recorder", name, leaf)


@pytest.mark.parametrize(
    "topic",
    [
        "meters/1",
        "meters/1/power/l1",
        "meters//power",
        "meters/_bridge/status",
        "meters/_bridge/-x/status",
        "meters/_bridge/x/y/status",
        "meters/_other/x/status",
        "meters/1/2/status",
        "meters/-1/power",
        "meters/1/Power",
        "meters/1/power ",
        "meters/1/power\n",
        "meters/küche/power",
        "METERS/1/power",
        "homeassistant/1/power",
        "/meters/1/power",
        "meters/" + "a" * 33 + "/power",
    ],
)
def test_a_topic_of_another_form_is_not_a_meters_topic(topic: str) -> None:
    assert topics.parse(topic) is None


def test_the_topics_are_those_of_the_contract() -> None:
    assert topics.reading("1") == "meters/1/reading"
    assert topics.status("1") == "meters/1/status"
    assert topics.info("1") == "meters/1/info"
    assert topics.bridge("house", "status") == "meters/_bridge/house/status"
    assert topics.recorder("main", "info") == "meters/_recorder/main/info"
    assert topics.discovery("m1") == "homeassistant/device/meters/m1/config"


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("meters/1/power", "meters/1/power", True),
        ("meters/1/power", "meters/1/powers", False),
        ("meters/+/power", "meters/1/power", True),
        ("meters/+/power", "meters/1/energy", False),
        ("meters/+", "meters/1/power", False),
        ("meters/+/+", "meters/1", False),
        ("meters/1/#", "meters/1/power", True),
        ("meters/1/#", "meters/1", True),
        ("meters/1/#", "meters/10/power", False),
        ("#", "meters/1/power", True),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("+/+/+", "meters//power", True),
    ],
)
def test_a_filter_covers_the_topics_of_the_standard(
    pattern: str, topic: str, matches: bool
) -> None:
    assert topics.filter_matches(pattern, topic) is matches
