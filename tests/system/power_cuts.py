"""Power cuts: whatever a program has acknowledged is there afterwards, and every file opens.

    python -m tests.system.power_cuts --cuts 400 --seed 7

All kinds of files are written on a disk that records what it is asked to do; cuts at random
moments of that recording are then derived and judged. With `--seconds` the whole pipeline runs on
such a disk instead, and is cut as often: how many seconds of readings does that cost?
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from broker.recovery import fault_of_mosquitto_file
from broker.retained import RetainedMessages
from broker.users import add_user, matches, read_users
from contract.errors import MeterflowError
from contract.readings import Reading, decode_reading
from contract.replay import Replayed
from contract.times import epoch_ms
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.journal_file import JournalFile
from gateway_bridge.publishing.numbering import Numbering
from history.dialect import dialect_of
from history.exchange.archive import Archive
from history.retention import Keep
from recorder.commands import backup
from recorder.storage import Storage
from tests.support import pipeline
from tests.support.forgetful_disk import MODES, Cut, Mode, Op, Recorded, lay_out, survivors
from web.users import read_accounts, set_token

HISTORY, JOURNAL = Path("energy_meters.db"), Path("state/journal-gateway.db")
RETAINED, ARCHIVE, BACKUP = Path("state/embedded.db"), Path("archive"), Path("backup.db")
WEB_USERS, BROKER_USERS = Path("state/web.users"), Path("state/broker.passwd")
METERS = ("1", "2")
BRIDGE = "gateway"
TOPICS, USERS = 7, 3
HOUR_S = 3600
_NEVER = threading.Event()


# -- writing -----------------------------------------------------------------------------------


class Writing:
    """Writes to each kind of file as the programs do, and marks what they acknowledge."""

    def __init__(self, disk: Recorded, dice: random.Random) -> None:
        self._disk, self._dice = disk, dice
        self._began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)

    def run(self, rounds: int) -> None:
        place = self._disk.mount
        storage = open_storage(place)
        storage._database.execute_sql("PRAGMA wal_autocheckpoint = 100")
        journal = Journal(place / JOURNAL, 10 * HOUR_S, 10**8, 1e9)
        journal.start(Numbering(), METERS)
        retained = RetainedMessages(place / RETAINED)
        self._old_readings(storage)
        for number in range(1, rounds + 1):
            self._bridge(number, journal, storage)
            self._device(number, storage)
            self._broker(number, retained)
            if number % 10 == 0:
                self._users(number)
            if number % 15 == 0:
                self._checkpoint(number)
            if number % 40 == 20:
                while storage._history and storage._history.upkeep.due():
                    storage.run_upkeep()
        journal.stop()
        asyncio.run(retained.write())
        retained.close()
        storage.close()

    def _old_readings(self, storage: Storage) -> None:
        """Store readings that retention will put into the archive."""
        storage.write(list(old_readings(self._began)), [], _NEVER)
        storage.sync(0)
        self._disk.mark(f"old {self._began.timestamp():.0f}")

    def _bridge(self, number: int, journal: Journal, storage: Storage) -> None:
        readings = [reading_of(self._began, meter, number) for meter in METERS]
        for reading in readings:
            journal.add(reading, reading.encode())
        if number % 3 == 0 and journal.flush():
            self._disk.mark(f"journal {number}")
        storage.write(readings, [], _NEVER)
        if number == 1:
            nothing = {meter: Replayed(after=0, upto=0, sent=[]) for meter in METERS}
            storage.settle(BRIDGE, nothing, (), _NEVER)

    def _device(self, number: int, storage: Storage) -> None:
        ts = self._began + timedelta(seconds=number)
        storage.write([Reading("esp", ts, {"power": float(number)})], [], _NEVER)
        if number % 5 == 0:
            storage.sync(0)
            self._disk.mark(f"device {number}")

    def _broker(self, number: int, retained: RetainedMessages) -> None:
        retained.keep(f"meters/{number % TOPICS}/power", str(number).encode(), 1)
        if number % 4 == 0:
            asyncio.run(retained.write())
            self._disk.mark(f"retained {number}")

    def _users(self, number: int) -> None:
        place, name = self._disk.mount, f"user{number // 10 % USERS}"
        _, token = set_token(place / WEB_USERS, name, "viewer")
        self._disk.mark(f"token {name} {token}")
        add_user(place / BROKER_USERS, name, token)
        self._disk.mark(f"password {name} {token}")

    def _checkpoint(self, number: int) -> None:
        place = self._disk.mount
        with closing(sqlite3.connect(place / HISTORY)) as database:
            database.execute(f"PRAGMA wal_checkpoint({self._dice.choice(('PASSIVE', 'FULL'))})")
        url = {"DATABASE_URL": f"sqlite:///{place / HISTORY}"}
        with patch.dict(os.environ, url), contextlib.redirect_stdout(None):
            backup.main([str(place / BACKUP)])
        self._disk.mark(f"backup {number}")


def open_storage(place: Path) -> Storage:
    storage = Storage(f"sqlite:///{place / HISTORY}", Keep(raw=30), Archive(place / ARCHIVE))
    assert storage.open(_NEVER)
    return storage


def reading_of(began: datetime, meter: str, number: int) -> Reading:
    ts = began + timedelta(seconds=number)
    return Reading(meter, ts, {"power": float(number), "energy": 1000.0 + number}, number)


def old_readings(began: datetime) -> Iterator[Reading]:
    for hours in range(100 * 24, 40 * 24, -3):
        yield Reading("old", began - timedelta(hours=hours), {"power": float(hours)})


# -- judging -----------------------------------------------------------------------------------


@dataclass
class Judgement:
    """What is wrong after a cut; empty where all that was acknowledged is there."""

    faults: list[str] = field(default_factory=list)

    def check(self, place: Path, cut: Cut) -> None:
        """Open all files that a cut has left in a directory, and look for what was acknowledged."""
        last = dict(mark.split(" ", 1) for mark in cut.marks)
        self._try("users", lambda: self._users(place, cut.marks))
        self._try("retained", lambda: self._retained(place, int(last.get("retained", 0))))
        if "backup" in last:
            self._try("backup", lambda: self._sound(place / BACKUP))
        self._try("archive and history", lambda: self._histories(place, last))

    def _try(self, what: str, check: object) -> None:
        assert callable(check)
        try:
            check()
        except Exception as error:
            self.faults.append(f"{what}: {type(error).__name__}: {error}")

    def _expect(self, what: str, wanted: set[object], found: Iterable[object]) -> None:
        if missing := wanted.difference(found):
            self.faults.append(f"{what}: {len(missing)} of {len(wanted)} missing: {min(missing)}")  # type: ignore[type-var]

    def _sound(self, path: Path) -> None:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            [(answer,)] = database.execute("PRAGMA integrity_check").fetchall()
            assert answer == "ok", answer
            assert database.execute("SELECT COUNT(*) FROM readings_raw").fetchone()[0], "is empty"

    def _users(self, place: Path, marks: Sequence[str]) -> None:
        """Each file has what was acknowledged last, or what was being written."""
        accounts = read_accounts(place / WEB_USERS)
        passwords = read_users(place / BROKER_USERS) if (place / BROKER_USERS).exists() else {}
        for kind, is_valid in (
            ("token", lambda _, secret: accounts.token(secret)),
            ("password", lambda name, secret: matches(passwords.get(name, ""), secret)),
        ):
            told = [mark.split(" ")[1:] for mark in marks if mark.startswith(kind)]
            written_next = f"user{(int(told[-1][0][-1]) + 1) % USERS}" if told else ""
            for name, secret in dict(told).items():
                known = name in (accounts.by_name if kind == "token" else passwords)
                if not known or not (name == written_next or is_valid(name, secret)):
                    self.faults.append(f"users: the {kind} of {name} is missing")

    def _retained(self, place: Path, acknowledged: int) -> None:
        messages = RetainedMessages(place / RETAINED)
        found = {topic: int(message.payload) for topic, message in messages.items()}
        messages.close()
        for number in range(max(acknowledged - TOPICS + 1, 1), acknowledged + 1):
            if found.get(f"meters/{number % TOPICS}/power", 0) < number:
                self.faults.append(f"retained: message {number} is missing")
        if list((place / RETAINED).parent.glob("embedded.db.damaged")):
            self.faults.append("retained: set aside")

    def _histories(self, place: Path, last: dict[str, str]) -> None:
        storage = open_storage(place)
        try:
            self.faults += dialect_of(storage._database).file_errors()
            before = counted(place)
            self._replay(storage, place, int(last.get("journal", 0)))
            rows = counted(place)
            if any(before[name] - rows[name] for name in before):
                self.faults.append("history: rows are gone after the replay")
            self._expect("device", set(range(1, int(last.get("device", 0)) + 1)), rows["esp"])
            for meter in METERS:
                wanted = set(range(1, int(last.get("journal", 0)) + 1))
                self._expect(f"meter {meter}", wanted, rows[meter])
            self._archived(place, last, rows["old"])
        finally:
            storage.close()

    def _replay(self, storage: Storage, place: Path, acknowledged: int) -> None:
        """Send the readings again that the history lacks, by its own numbers."""
        journal = JournalFile(place / JOURNAL)
        journal.open()
        numbers = storage.numbers(BRIDGE)
        for meter in METERS:
            self._expect(
                f"journal of meter {meter}",
                set(range(1, acknowledged + 1)),
                [kept.seq for kept in journal.after(meter, 0, 10**6)],
            )
            upto = numbers[meter].upto if meter in numbers else 0
            kept = journal.after(meter, upto, 10**6)
            now = datetime.now(UTC)
            again = [decode_reading(k.reading, arrived=now, meter_id=meter) for k in kept]
            storage.write(again, [], _NEVER)
        journal.close()

    def _archived(self, place: Path, last: dict[str, str], stored: Iterable[int]) -> None:
        archive = Archive(place / ARCHIVE)
        self.faults += [fault for path in archive.files() if (fault := archive.fault_of(path))]
        if "old" not in last:
            return
        began = datetime.fromtimestamp(int(last["old"]), UTC)
        rows = [row for path in archive.files() for row in archive.rows(path, ("power",))]
        wanted = {int(reading.values["power"]) for reading in old_readings(began)}
        self._expect("archive", set(wanted), {row[1] // 1000 for row in rows}.union(stored))


def counted(place: Path) -> dict[str, Counter[int]]:
    """Return the powers that each meter has in the history."""
    with closing(sqlite3.connect(place / HISTORY)) as database:
        rows = database.execute(
            "SELECT name, power / 1000 FROM readings_raw JOIN meters ON id = meter"
        ).fetchall()
    found = {name: Counter[int]() for name in (*METERS, "esp", "old")}
    for name, power in rows:
        found[name][power] += 1
    return found


def judge(ops: Sequence[Op], cuts: int, mode: Mode, seed: int) -> Iterator[tuple[int, list[str]]]:
    """Cut at random moments; yield each moment and what is wrong after it."""
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(len(ops) + 1), cuts))
    for moment, cut in zip(moments, survivors(ops, moments, mode, dice), strict=True):
        with tempfile.TemporaryDirectory(prefix="cut-") as name:
            lay_out(cut.files, Path(name))
            judgement = Judgement()
            judgement.check(Path(name), cut)
            yield moment, judgement.faults


def record(directory: Path, rounds: int, seed: int) -> list[Op]:
    """Write all kinds of files on a recorded disk, and return the recording."""
    with Recorded(directory) as disk:
        Writing(disk, random.Random(seed)).run(rounds)
    return disk.read()


# -- a running pipeline ------------------------------------------------------------------------


@dataclass
class Losses:
    """What cuts of a running pipeline cost: seconds of readings, the most of all cuts."""

    faults: list[str] = field(default_factory=list)
    cuts: int = 0
    costly: int = 0
    together_s: float = 0.0
    history_s: float = 0.0
    journal_s: float = 0.0
    retained_s: float = 0.0
    after_replay: int = 0
    """Readings that neither the history nor the journal of a bridge that goes on has."""

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts; of one machine: {self.costly} cost readings, at most those of "
            f"{self.together_s:.1f} s; the history alone lacks {self.history_s:.1f} s, after the "
            f"replay {self.after_replay} readings; the journal alone {self.journal_s:.1f} s; "
            f"retained messages {self.retained_s:.1f} s; {len(self.faults)} faults"
        )


class PipelineCuts:
    """Cuts of a recorded pipeline, and what each of its files has afterwards."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._ops = ops
        self._published = list(published(ops))
        self.losses = Losses()

    def run(self, cuts: int, mode: Mode, seed: int) -> None:
        dice = random.Random(seed)
        first = next(moment for moment, _, _ in self._published)
        moments = sorted(dice.sample(range(first + 1, len(self._ops) + 1), cuts))
        (end,) = survivors(self._ops, [len(self._ops)], "keep", dice)
        with tempfile.TemporaryDirectory(prefix="cut-") as name:
            _, journal = self._read(Path(name), end)
        for moment, cut in zip(moments, survivors(self._ops, moments, mode, dice), strict=True):
            with tempfile.TemporaryDirectory(prefix="cut-") as name:
                self._judge(Path(name), moment, cut, journal)

    def _judge(self, place: Path, moment: int, cut: Cut, later: set[tuple[str, int]]) -> None:
        losses = self.losses
        sent = {key: ts_s for at, key, ts_s in self._published if at < moment}
        history, journal = self._read(place, cut)

        def age_s(missing: set[tuple[str, int]]) -> float:
            return max((cut.at_s - sent[key] for key in missing), default=0.0)

        lost = sent.keys() - history - journal
        losses.cuts += 1
        losses.costly += bool(lost)
        losses.together_s = max(losses.together_s, age_s(lost))
        losses.history_s = max(losses.history_s, age_s(sent.keys() - history))
        losses.journal_s = max(losses.journal_s, age_s(sent.keys() - journal))
        losses.after_replay += len(sent.keys() - history - later)

    def _read(self, place: Path, cut: Cut) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        """Return the readings of history and journal, by meter and epoch ms."""
        lay_out({path: c for path, c in cut.files.items() if not path.endswith(".log")}, place)
        history, journal = set[tuple[str, int]](), set[tuple[str, int]]()
        try:
            history = _rows(place / "recorder" / HISTORY)
            journal = _kept(place / "bridge" / JOURNAL)
            for path in (place / "broker").glob("state/*.db"):
                self._broker(path, cut.at_s)
        except (sqlite3.Error, AssertionError, MeterflowError) as error:
            self.losses.faults.append(f"{type(error).__name__}: {error}")
        return history, journal

    def _broker(self, path: Path, at_s: float) -> None:
        if path.name.startswith("mosquitto"):
            assert fault_of_mosquitto_file(path) is None, fault_of_mosquitto_file(path)
            return
        messages = RetainedMessages(path)
        for topic, message in messages.items():
            if topic.endswith("/reading"):
                ts = decode_reading(message.payload, arrived=datetime.now(UTC)).ts
                self.losses.retained_s = max(self.losses.retained_s, at_s - ts.timestamp())
        messages.close()
        assert not list(path.parent.glob("*.damaged")), "the retained messages were set aside"


def published(ops: Iterable[Op]) -> Iterator[tuple[int, tuple[str, int], float]]:
    """Yield the moment, the key and the time of each reading that another subscriber received."""
    log, text = 0, b""
    for moment, op in enumerate(ops):
        if op.kind == "add" and "mosquitto_sub" in op.data[0]:
            log = op.data[1]
        if op.kind == "write" and op.node == log:
            *lines, text = (text + op.data).split(b"\n")
            for line in lines:
                if not line.startswith(b"{"):
                    continue  # it was not connected yet
                payload = json.loads(line)
                ts = datetime.fromisoformat(payload["ts"])
                yield moment, (payload["meter_id"], epoch_ms(ts)), ts.timestamp()


def _rows(path: Path) -> set[tuple[str, int]]:
    if not path.exists() or not path.stat().st_size:
        return set()
    with closing(sqlite3.connect(path)) as database:
        [(answer,)] = database.execute("PRAGMA quick_check").fetchall()
        assert answer == "ok", answer
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "readings_raw" not in tables:
            return set()
        return {*database.execute("SELECT name, ts FROM readings_raw JOIN meters ON id = meter")}


def _kept(path: Path) -> set[tuple[str, int]]:
    if not path.exists():
        return set()
    file = JournalFile(path)
    file.open()
    kept = [each for n in pipeline.METERS for each in file.after(str(n), 0, 10**7)]
    file.close()
    return {(each.meter, each.ts) for each in kept}


def record_pipeline(directory: Path, broker: str, seconds: float) -> list[Op]:
    """Run bridge, broker and recorder as they are set by default; return the recording."""
    with (
        Recorded(directory) as disk,
        pipeline.Pipeline(disk.mount, broker, small_disk=False, journal_s=30) as whole,
    ):
        time.sleep(seconds)
        for name in ("gateway_bridge", "recorder", "broker"):
            whole.parts[name].stop()
    return disk.read()


# -- the program -------------------------------------------------------------------------------


def main() -> None:
    """Cut, print what is wrong, and exit with 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200, help="of each mode")
    parser.add_argument("--rounds", type=int, default=200, help="of writing")
    parser.add_argument("--seconds", type=float, help="run a pipeline for so long instead")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="power-cuts-") as name:
        if options.seconds:
            wrong = _cut_pipelines(Path(name), options)
        else:
            ops = record(Path(name), options.rounds, options.seed)
            _say(f"{len(ops)} operations, seed {options.seed}")
            for mode in MODES:
                faults = dict(judge(ops, options.cuts, mode, options.seed))
                bad = {moment: found for moment, found in faults.items() if found}
                wrong += len(bad)
                _say(f"{mode}: {len(faults)} cuts, {len(bad)} with faults")
                for moment, found in list(bad.items())[:10]:
                    _say(f"  before operation {moment}: {'; '.join(found)}")
    sys.exit(bool(wrong))


def _cut_pipelines(directory: Path, options: argparse.Namespace) -> int:
    wrong = 0
    for broker in ("mosquitto", "embedded"):
        ops = record_pipeline(directory / broker, broker, options.seconds)
        for mode in MODES:
            cuts = PipelineCuts(ops)
            cuts.run(options.cuts, mode, options.seed)
            wrong += len(cuts.losses.faults) + cuts.losses.after_replay
            _say(f"{broker}, {mode}, seed {options.seed}: {cuts.losses}")
            for fault in cuts.losses.faults[:5]:
                _say(f"  {fault}")
    return wrong


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
