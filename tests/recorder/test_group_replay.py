"""A group of recorders: one of them requests what is missing, and receives it alone."""

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from contract.times import epoch_ms, parse_time
from history.database import migrate
from history.leases import Lease, Leases
from recorder import leader_election
from recorder.leader_election import LeaderElection
from recorder.storage import Storage
from tests.support.bridged import Site
from tests.support.parts import Part, require, wait_until
from tests.support.plain_client import PlainClient
from tests.support.postgresql import BOTH

DATABASES = BOTH


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of which only the simulator runs."""
    require("mosquitto")
    site = Site(tmp_path)
    with site.simulator():
        yield site


def member(site: Site, name: str) -> Part:
    part = site.recorder(RECORDER_GROUP="night", RECORDER_NAME=name)
    part.wait_for(f":{site.mqtt}: connected")
    return part


def sampled_ms(payload: bytes) -> int:
    return epoch_ms(parse_time(json.loads(payload)["ts"]))


def test_a_group_closes_the_gap_that_a_killed_broker_left(site: Site) -> None:
    with site.bridge(), site.broker() as broker, member(site, "one"), member(site, "two"):
        wait_until(site.stored, what="a first row")
        broker.stop(signal.SIGKILL)
        shutil.rmtree(site.directory / "broker")
        site.wait_for_readings()
        with site.broker(), PlainClient(site.mqtt) as client:
            client.subscribe("meters/+/reading")
            client.subscribe("meters/_bridge/gateway/replay")
            site.wait_for_readings()
            before = site.kept()
            wait_until(lambda: before <= site.stored(), 60, "all rows")

            seqs = [m.payload for m in client.messages if m.topic == "meters/1/reading"]
            asked = [json.loads(m.payload) for m in client.messages if "_bridge" in m.topic]
            assert len({each["recorder"] for each in asked}) == 1
            assert all(each["direct"] for each in asked)
            assert len(seqs) <= len(set(seqs)) + 1, "sent again to all who read the meters"


def test_what_the_broker_sets_aside_for_a_dead_recorder_is_stored_by_the_other(site: Site) -> None:
    with site.bridge(), site.broker(), member(site, "one") as one, member(site, "two") as two:
        wait_until(lambda: "leads" in one.output + two.output)
        leader, other = (one, two) if "leads" in one.output else (two, one)
        wait_until(site.stored, what="a first row")
        other.stop(signal.SIGKILL)

        with PlainClient(site.mqtt) as client:
            client.subscribe("meters/+/reading")
            wait_until(lambda: len(client.messages) > 20, what="readings")
            received = {(m.topic.split("/")[1], sampled_ms(m.payload)) for m in client.messages}
        wait_until(lambda: received <= site.stored(), 60, "all rows")

        assert "no longer has" not in leader.output


@pytest.fixture
def pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LeaderElection, LeaderElection]]:
    """The elections of two recorders of a group, with a renewal at each call."""
    monkeypatch.setattr(leader_election, "RENEW_S", 0)
    storage = Storage(f"sqlite:///{tmp_path}/history.db")
    assert storage.open(threading.Event())
    yield LeaderElection(storage, "night", "one"), LeaderElection(storage, "night", "two")
    storage.close()


def test_one_of_a_group_leads_until_it_resigns(
    pair: tuple[LeaderElection, LeaderElection],
) -> None:
    one, two = pair

    assert [one.is_leader(), two.is_leader(), one.is_leader(), two.is_leader()] == [
        True,
        False,
        True,
        False,
    ]

    one.resign()
    assert [two.is_leader(), one.is_leader()] == [True, False]


def test_a_lease_that_is_not_renewed_expires_and_its_holder_notices(
    pair: tuple[LeaderElection, LeaderElection], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    assert [one.is_leader(), two.is_leader()] == [True, False]

    monkeypatch.setattr(leader_election, "EXPIRES_S", 0)

    assert two.is_leader()
    monkeypatch.setattr(leader_election, "EXPIRES_S", 1000)
    assert not one.is_leader()


def test_a_recorder_without_a_group_always_leads(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path}/never_opened.db")

    assert all(LeaderElection(storage, None, "same").is_leader() for _ in range(2))


def test_a_lease_is_acquired_by_one_of_those_that_saw_the_same(database: peewee.Database) -> None:
    migrate(database)
    leases = Leases(database)
    seen = leases.read("night")

    taken = leases.acquire("night", "one", seen)

    assert (seen, taken) == (Lease("", 0), Lease("one", 1))
    assert leases.acquire("night", "two", seen) is None
    assert leases.read("night") == taken
