"""The hierarchy of a site's meters: what is behind each of them, and which one measures it too."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import compress

from contract.meter_settings import Role, cycle
from contract.times import epoch_ms
from history.tables import Meter

REMOVED_AFTER = timedelta(days=30)
"""Silence after which a meter counts as removed since its last reading."""

Flow = float | None
"""Energy in kWh or power in W, positive towards the consumers; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Node:
    """A meter in its site; the role of one without a role is assumed.

    A production meter that does not count exports counts what it produces as import.
    """

    meter: Meter
    role: Role
    parent: str | None
    children: tuple[str, ...]
    counts_export: bool

    @property
    def meter_id(self) -> str:
        """The id of the meter on MQTT."""
        return self.meter.name

    def net(self, imported: Flow, exported: Flow) -> Flow:
        """Return the net flow of what the meter has counted."""
        if self.role is not Role.PRODUCTION:
            return None if imported is None else imported - (exported or 0)
        if not self.counts_export:
            return None if imported is None else -imported
        return None if exported is None else (imported or 0) - exported


@dataclass(frozen=True)
class Site:
    """The meters of a site by id, each after its parent."""

    nodes: dict[str, Node]

    @cached_property
    def parts(self) -> dict[Role, list[tuple[str, list[str]]]]:
        """The meters whose flows add up to that of each role, and those to take out of each.

        What the grid's meters measure stays whole.
        """
        return {
            role: [(node.meter_id, self._others_in(node)) for node in tops]
            for role in Role
            if (tops := self.tops(role))
        }

    @property
    def measured_by(self) -> Role | None:
        """The role whose meters measure the consumption: the grid's, else the consumers'."""
        return next((role for role in (Role.GRID, Role.CONSUMER) if role in self.parts), None)

    @property
    def billed(self) -> list[str]:
        """The meters of the house's bill: the outermost of the role that measures it."""
        return [node.meter_id for node in self.tops(self.measured_by)] if self.measured_by else []

    def tops(self, role: Role) -> list[Node]:
        """Return the meters of a role that do not lie directly below another of that role.

        Of the grid only the outermost: other roles below it are part of what it measures.
        """
        above = self._all_above if role is Role.GRID else self._above
        return [
            node
            for node in self.nodes.values()
            if node.role is role and all(each.role is not role for each in above(node))
        ]

    def _above(self, node: Node) -> list[Node]:
        return [] if node.parent is None else [self.nodes[node.parent]]

    def _all_above(self, node: Node) -> list[Node]:
        parents = self._above(node)
        return [*parents, *(each for parent in parents for each in self._all_above(parent))]

    def _others_in(self, node: Node) -> list[str]:
        """Return the nearest meters below one that have another role; none below the grid's."""
        found: list[str] = []
        for child in map(self.nodes.__getitem__, node.children):
            if node.role is not Role.GRID:
                found += self._others_in(child) if child.role is node.role else [child.meter_id]
        return found


def site_of(meters: Iterable[Meter], without_export: Collection[str] = ()) -> Site:
    """Return the site of these meters; those `without_export` have no counter of exports.

    A meter without a role is a consumer. If no meter has the role grid, and one meter alone has
    neither role nor parent, that one is the grid's.
    """
    by_id = {meter.name: meter for meter in meters}
    parents = _parents(by_id)
    roles = {name: meter.role or Role.CONSUMER for name, meter in by_id.items()}
    unset = [name for name, meter in by_id.items() if not meter.role and not parents[name]]
    if len(unset) == 1 and Role.GRID not in roles.values():
        roles[unset[0]] = Role.GRID
    children: dict[str | None, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent, []).append(name)
    nodes: dict[str, Node] = {}
    waiting = children.get(None, [])[::-1]
    while waiting:
        name = waiting.pop()
        below = children.get(name, [])
        waiting += below[::-1]
        nodes[name] = Node(
            by_id[name], roles[name], parents[name], tuple(below), name not in without_export
        )
    return Site(nodes)


def _parents(by_id: Mapping[str, Meter]) -> dict[str, str | None]:
    """Return each meter's parent; None where it has no history, or they lead in a circle."""
    given = {name: meter.parent for name, meter in by_id.items()}
    return {
        name: parent if parent in by_id and not cycle(given, name) else None
        for name, parent in given.items()
    }


def are_standing(
    meters: Sequence[Meter], since: datetime, until: datetime, now: datetime
) -> tuple[bool, ...]:
    """Return which of some meters were there in a period.

    A meter is there from its first reading on. One that has been silent for 30 days has been
    removed after its last reading.
    """
    begin, end = epoch_ms(since), epoch_ms(until)
    earliest = min(begin, epoch_ms(now - REMOVED_AFTER))
    return tuple([meter.first_ts < end and meter.last_ts >= earliest for meter in meters])


def standing(meters: Sequence[Meter], are_there: Sequence[bool]) -> list[Meter]:
    """Return the meters that are there, each with its nearest parent among them."""
    there = {meter.name: meter for meter in compress(meters, are_there)}
    parents = {meter.name: meter.parent for meter in meters}
    return [meter._replace(parent=_nearest(meter, parents, there)) for meter in there.values()]


def _nearest(meter: Meter, parents: Mapping[str, str | None], there: Collection[str]) -> str | None:
    seen, parent = {meter.name}, meter.parent
    while parent and parent not in there and parent not in seen:
        seen.add(parent)
        parent = parents.get(parent)
    return parent
