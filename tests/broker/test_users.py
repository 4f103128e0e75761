"""Users of the broker: the file, its format, and how passwords are checked."""

import asyncio
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker import users
from broker.users import Users, add_user, matches
from service.errors import SettingsError
from tests.support.parts import ROOT, require


def test_a_password_is_generated_where_none_is_given(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    answer = subprocess.run(
        [sys.executable, "-m", "broker", "add-user", "esp1", "--file", file],
        input="",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )

    password = answer.stdout.partition("password: ")[2].split()[0]
    assert matches(users.read_users(file)["esp1"], password)
    assert password not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_changed_password_replaces_the_old_one_and_keeps_the_files_mode(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    assert add_user(file, "esp1", "old")
    assert add_user(file, "esp2", "other")
    file.chmod(0o640)

    assert not add_user(file, "esp1", "new")

    stored = users.read_users(file)
    assert matches(stored["esp1"], "new")
    assert matches(stored["esp2"], "other")
    assert file.stat().st_mode & 0o777 == 0o640


def test_mosquitto_passwd_reads_and_writes_the_same_file(tmp_path: Path) -> None:
    program = require("mosquitto_passwd")
    file = tmp_path / "passwd"
    add_user(file, "esp1", "ours")

    subprocess.run([program, "-b", file, "esp2", "theirs"], check=True, capture_output=True)

    stored = users.read_users(file)
    assert matches(stored["esp1"], "ours")
    assert matches(stored["esp2"], "theirs")
    assert not matches(stored["esp2"], "ours")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "+", "#", "x" * 33])
def test_a_name_that_is_not_a_meter_id_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="user "):
        add_user(tmp_path / "passwd", name, "secret")


def test_a_password_is_checked_beside_the_traffic_and_only_once(tmp_path: Path) -> None:
    salt, rounds = b"twelve bytes", 600_000
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, rounds)
    line = f"esp1:$7${rounds}${users.base64.b64encode(salt).decode()}$"
    (tmp_path / "passwd").write_text(line + users.base64.b64encode(digest).decode())
    gaps: list[float] = []

    async def ticks() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - before)

    async def log_in() -> tuple[float, float]:
        known = Users(tmp_path / "passwd")
        ticking = asyncio.create_task(ticks())
        times = [time.monotonic()]
        for _ in range(2):
            assert await known.accept("esp1", "secret")
            times.append(time.monotonic())
        ticking.cancel()
        return times[1] - times[0], times[2] - times[1]

    first_s, second_s = asyncio.run(log_in())

    assert max(gaps) < first_s / 2, "the check stops the broker"
    assert second_s < first_s / 5, "a right password is not remembered"
