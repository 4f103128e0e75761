"""Access rights: the file's format, and which topics and filters a rule covers."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.rights import Rights, covers
from contract.topics import filter_matches
from service.errors import SettingsError
from tests.support.parts import ROOT

METERS_ACL = ROOT / "deploy" / "mosquitto" / "meters.acl"


@pytest.mark.parametrize(
    "line", ["topic deny meters/#", "topics read meters/#", "topic read a b c", "pattern"]
)
def test_an_invalid_line_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(f"# rights\n\n{line}\n")

    with pytest.raises(SettingsError, match=r"line 3: .*should be"):
        Rights.load(tmp_path / "acl")


def test_a_user_named_like_a_wildcard_has_no_rights() -> None:
    rights = Rights.load(METERS_ACL)

    assert rights.may_write("esp1", "any", "meters/esp1/power")
    assert not rights.may_write("+", "any", "meters/esp1/power")
    assert not rights.may_write("#", "any", "meters/esp1/power")
    assert not rights.may_write(None, "esp1", "meters/esp1/power")


def test_no_client_may_publish_to_the_brokers_own_topics() -> None:
    assert not Rights.everything().may_write(None, "any", "$SYS/broker/version")


def _levels(alphabet: str, most: int) -> Iterator[str]:
    for length in range(1, most + 1):
        for levels in itertools.product(alphabet, repeat=length):
            yield "/".join(levels)


def test_a_rule_covers_a_filter_exactly_when_it_matches_all_of_its_topics() -> None:
    topics = list(_levels("ab$", 4))
    filters = [f for f in _levels("a$+#", 3) if "#" not in f[:-1]]

    wrong = [
        (allowed, wanted)
        for allowed, wanted in itertools.product(filters, repeat=2)
        if covers(allowed, wanted)
        != all(filter_matches(allowed, t) for t in topics if filter_matches(wanted, t))
    ]

    assert wrong == []
