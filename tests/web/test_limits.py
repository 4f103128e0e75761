"""Limits of connections and messages: nobody uses up the service for everybody else."""

from ipaddress import ip_network

import pytest

from web.limits import MOST_PER_ADDRESS, Budget, Connections, source_of


def admit(connections: Connections, address: str, count: int) -> list[str | None]:
    return [connections.admit(address) for _ in range(count)]


def test_one_address_cannot_use_up_all_connections() -> None:
    connections = Connections(1000)

    answers = admit(connections, "192.0.2.1", MOST_PER_ADDRESS + 1)

    assert answers[:-1] == [None] * MOST_PER_ADDRESS
    assert "192.0.2.1" in str(answers[-1])
    assert connections.admit("192.0.2.2") is None


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    connections = Connections(1000)
    for n in range(MOST_PER_ADDRESS):
        assert connections.admit(f"2001:db8::{n:x}") is None

    assert connections.admit("2001:db8::ffff:1")
    assert connections.admit("2001:db8:0:1::1") is None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.7", "::ffff:10.0.0.7"]
)
def test_this_machine_and_trusted_proxies_are_limited_in_all_alone(address: str) -> None:
    connections = Connections(300, [ip_network("10.0.0.0/24"), ip_network("fd00::/8")])

    assert admit(connections, address, 301)[-2:] == [None, "300 connections are open, as many as "
        "this service accepts"]  # fmt: skip


def test_connection_that_has_ended_makes_room() -> None:
    connections = Connections(1)
    connections.admit("192.0.2.1")
    assert connections.admit("192.0.2.1")

    connections.release("192.0.2.1")

    assert connections.admit("192.0.2.1") is None


def test_ipv4_address_within_ipv6_is_the_ipv4_address() -> None:
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") == "192.0.2.1"


def test_budget_allows_a_burst_and_then_a_rate() -> None:
    budget = Budget(10, 2)

    assert [budget.spend(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert [budget.spend(101.0) for _ in range(3)] == [True, False, False]
    assert [budget.spend(200.0) for _ in range(11)] == [True] * 10 + [False]
