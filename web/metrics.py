"""/metrics: meters, bridges, recorders and this service for Prometheus, collected at each scrape.

Names have base units, and `_total` where a value only increases. Power is a gauge in watts beside
the counter in joules, because people look at it. A meter that is offline or silent has no values:
a gap stays a gap. The figures of bridges and recorders are those of their info (once a minute).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from contract import topics
from contract.errors import PayloadError
from contract.quantities import (
    APPARENT_POWER,
    BY_NAME,
    CURRENT,
    DEFAULT_SET,
    ENERGY,
    FREQUENCY,
    POWER,
    POWER_FACTOR,
    REACTIVE_POWER,
    VOLTAGE,
)
from contract.times import parse_time
from history.dialect import dialect_of
from history.errors import StorageError
from service import __version__
from service.escaping import escaped
from web.context import Parts, parts
from web.latest import Latest, Source

SILENT_S = 300.0
"""Age of a reading from which its values are left out; Prometheus drops a series after as long."""
MOST_GATEWAYS = 1000
LONGEST_LABEL = 100
JOULES_PER_WH = 3600
_UNITS = {
    VOLTAGE: "volts", CURRENT: "amperes", POWER: "watts", APPARENT_POWER: "voltamperes",
    REACTIVE_POWER: "vars", POWER_FACTOR: "ratio", FREQUENCY: "hertz",
}  # fmt: skip
_PHASES = ("l1", "l2", "l3")

blueprint = Blueprint("metrics", __name__)
_process = ProcessCollector(registry=None)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return the metrics, formatted in a thread: they may be those of a thousand meters."""
    shared = parts()
    scrape = Scrape.of(shared)
    encode, content_type = _encoder(request.headers.get("Accept", ""))
    return Response(shared.history.run(lambda: encode(scrape)), content_type=content_type)


class Figure(NamedTuple):
    """A metric whose value is a number in the info of a bridge or a recorder."""

    key: str
    metric: str
    meaning: str
    counter: bool = True


_OF_BRIDGES = (
    Figure("polls", "readings", "Readings that the bridge has published."),
    Figure("errors", "read_errors", "Requests to meters without a valid response."),
    Figure("held_back", "held_back_values", "Implausible values that were not published."),
    Figure("sent_again", "replayed_readings", "Readings sent again on request of a recorder."),
)
_OF_GATEWAYS = (
    Figure("requests", "requests", "Modbus requests."),
    Figure("connects", "connections", "Connections to the gateway."),
    Figure("skipped", "skipped_polls", "Polls that were skipped because the line was busy."),
    Figure("connected", "connected", "Whether the gateway is connected and works.", counter=False),
)
OF_RECORDERS = (
    Figure("stored", "stored_readings", "Readings stored."),
    Figure("duplicates", "duplicate_readings", "Readings received again that were stored before."),
    Figure("too_old", "too_old_readings", "Readings rejected: retention has deleted their time."),
    Figure("rejected", "rejected_messages", "Messages that could not be used."),
    Figure("ahead_of_clock", "ahead_of_clock_readings", "Readings from a clock that is ahead."),
    Figure("dropped", "dropped_messages", "Scalars dropped while the database took none."),
    Figure("asked_again", "replay_requests", "Requests to bridges for missing readings."),
    Figure("gaps_lost", "lost_gaps", "Gaps that no journal could fill."),
    Figure("queue", "queued_messages", "Messages that are not stored yet.", counter=False),
    Figure("waiting", "waiting_messages", "Those that wait for the next commit.", counter=False),
)


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape collects: copied in the event loop, read in a thread."""

    meters: list[tuple[str, Source]]
    services: list[tuple[str, Source]]
    latest: Latest
    database: tuple[int, int] | None
    """Bytes of the database, and how many of them are free; None where it cannot be read."""
    connected: bool
    clients: int
    waiting: int
    now: datetime

    @classmethod
    def of(cls, shared: Parts) -> "Scrape":
        """Return the state of now."""
        try:
            size = shared.history.query(lambda database: dialect_of(database).size(), empty=None)
        except StorageError:
            size = None
        return cls(
            meters=sorted(shared.latest.meters.items()),
            services=sorted(shared.latest.services.items()),
            latest=shared.latest,
            database=size,
            connected=shared.subscriber.connected,
            clients=shared.relay.clients,
            waiting=shared.subscriber.waiting,
            now=datetime.now(UTC),
        )

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        return chain(
            _process.collect(),
            self._of_web(),
            self._of_meters(),
            self._of_services(topics.BRIDGE, _OF_BRIDGES, "started"),
            self._of_gateways(),
            self._of_services(topics.RECORDER, OF_RECORDERS, "since"),
            self._of_storage(),
        )

    def _of_web(self) -> Iterator[Metric]:
        build = InfoMetricFamily("meterflow_build", "Version of the web service.")
        build.add_metric([], {"version": __version__})
        yield build
        yield _gauge("meterflow_web_broker_connected", "Whether there is a broker.", self.connected)
        yield _gauge("meterflow_web_clients", "Clients that receive live readings.", self.clients)
        what = "Messages received and not handled yet."
        yield _gauge("meterflow_web_waiting_messages", what, self.waiting)
        what = "Whether the history can be read."
        yield _gauge("meterflow_history_readable", what, self.database is not None)
        if self.database:
            size, free = self.database
            yield _gauge("meterflow_history_size_bytes", "Size of the database.", size)
            yield _gauge("meterflow_history_free_bytes", "Unused part of the database.", free)

    def _of_meters(self) -> Iterator[Metric]:
        info = InfoMetricFamily("meterflow_meter", "What a meter's info says.", labels=["meter"])
        online = _labelled("meterflow_meter_online", "Whether the meter is online.", "meter")
        what = "Time since the newest reading was measured."
        age = _labelled("meterflow_reading_age_seconds", what, "meter")
        values = _MeterValues()
        for meter_id, meter in self.meters:
            state, reading = self.latest.online(meter_id), meter.newest
            if about := meter.value("info"):
                names = ("name", "manufacturer", "model", "serial", "bridge", "role")
                known = {name: _label(about[name]) for name in names if name in about}
                info.add_metric([meter_id], known)
            if state is not None:
                online.add_metric([meter_id], state)
            if reading:
                age_s = (self.now - reading.ts).total_seconds()
                age.add_metric([meter_id], age_s)
                if state is not False and age_s < SILENT_S:
                    values.add(meter_id, reading.values)
        yield from (info, online, age)
        yield from values.families()

    def _of_services(self, kind: str, figures: Iterable[Figure], since: str) -> Iterator[Metric]:
        online = _labelled(f"meterflow_{kind}_online", f"Whether the {kind} is online.", kind)
        what = f"When the {kind} started."
        started = _labelled(f"meterflow_{kind}_start_time_seconds", what, kind)
        table = _Figures(f"meterflow_{kind}", figures, [kind])
        for name, service in self._services(kind):
            status, info = service.value("status"), service.value("info") or {}
            if status is not None:
                online.add_metric([name], status == topics.ONLINE)
            if (at_s := _seconds(info.get(since))) is not None:
                started.add_metric([name], at_s)
            table.add([name], info)
        yield from (online, started)
        yield from table.families()

    def _of_gateways(self) -> Iterator[Metric]:
        table = _Figures("meterflow_gateway", _OF_GATEWAYS, [topics.BRIDGE, "gateway"])
        for bridge, service in self._services(topics.BRIDGE):
            gateways = (service.value("info") or {}).get("gateways")
            for gateway in gateways if isinstance(gateways, list) else ():
                if isinstance(gateway, dict) and len(table) < MOST_GATEWAYS:
                    table.add([bridge, _label(gateway.get("name"))], gateway)
        yield from table.families()

    def _of_storage(self) -> Iterator[Metric]:
        what = "Whether the recorder cannot write its database."
        failing = _labelled("meterflow_recorder_failing", what, topics.RECORDER)
        what = "When the recorder last committed readings."
        commit = _labelled("meterflow_recorder_commit_time_seconds", what, topics.RECORDER)
        for name, service in self._services(topics.RECORDER):
            info = service.value("info")
            if info:
                failing.add_metric([name], info.get("trouble") is not None)
                if (at_s := _seconds(info.get("last_commit"))) is not None:
                    commit.add_metric([name], at_s)
        yield from (failing, commit)

    def _services(self, kind: str) -> Iterator[tuple[str, Source]]:
        prefix = f"_{kind}/"
        for path, source in self.services:
            if path.startswith(prefix):
                yield path.removeprefix(prefix), source


class _MeterValues:
    """The metrics of quantities, derived from the catalogue.

    The value of a phase has a metric of its own, so that a sum over one counts nothing twice.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._places = {name: self._place(name) for name in DEFAULT_SET if _is_shown(name)}

    def add(self, meter_id: str, values: Mapping[str, float]) -> None:
        """Add the values of a meter."""
        if "energy_import" not in values and "energy" in values:
            values = {**values, "energy_import": values["energy"]}
        for name, (family, phase) in self._places.items():
            if name in values:
                is_energy = BY_NAME[name].kind == ENERGY
                value = round(values[name] * 1000) * JOULES_PER_WH if is_energy else values[name]
                family.add_metric([meter_id, *phase], value)

    def families(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families.values()

    def _place(self, name: str) -> tuple[Any, list[str]]:
        """Return the metric of a quantity, and its phase if it has one."""
        base, _, end = name.rpartition("_")
        phase = [end] if end in _PHASES else []
        kind = BY_NAME[name].kind
        unit = "joules" if kind == ENERGY else _UNITS[kind]
        metric = f"meterflow_{'phase_' if phase else ''}{base if phase else name}_{unit}"
        label = BY_NAME[base if phase else name].label
        if metric not in self._families:
            family = CounterMetricFamily if kind.counter else GaugeMetricFamily
            labels = ["meter", "phase"] if phase else ["meter"]
            what = f"{label}{' of a phase' if phase else ''}."
            self._families[metric] = family(metric, what, labels=labels)
        return self._families[metric], phase


def _is_shown(name: str) -> bool:
    """Return whether a quantity has a metric; `energy` is `energy_import` by another name."""
    kind = BY_NAME[name].kind
    return kind in _UNITS or (kind == ENERGY and name != "energy")


class _Figures:
    """Metrics of numbers in the infos of services: whatever was published, each series once."""

    def __init__(self, prefix: str, figures: Iterable[Figure], labels: list[str]) -> None:
        self._seen: set[tuple[str, ...]] = set()
        self._families = {
            figure.key: (CounterMetricFamily if figure.counter else GaugeMetricFamily)(
                f"{prefix}_{figure.metric}", figure.meaning, labels=labels
            )
            for figure in figures
        }

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, labels: list[str], info: dict[str, Any]) -> None:
        """Add the figures of a service."""
        if tuple(labels) in self._seen:
            return
        self._seen.add(tuple(labels))
        for key, family in self._families.items():
            value = info.get(key)
            if isinstance(value, int | float) and abs(value) < 1e300:
                family.add_metric(labels, value)

    def families(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families.values()


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _labelled(name: str, what: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, labels=[label])


def _label(value: object) -> str:
    return escaped(str(value)[:LONGEST_LABEL])


def _seconds(moment: object) -> float | None:
    """Return a time of an info in seconds since 1970; None where it is none."""
    try:
        return parse_time(moment).timestamp() if isinstance(moment, str) else None
    except PayloadError:
        return None


def _encoder(accepted: str) -> tuple[Callable[[Any], bytes], str]:
    """Return the encoder that a client accepts, and its content type."""
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):  # a version that is not a number
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
