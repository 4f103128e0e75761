"""Client ids: the same at each start, nobody can guess them, and no log has them."""

import logging
from pathlib import Path

import pytest

from service.client_ids import client_id, kept_client_id
from service.errors import SettingsError
from service.lifecycle import LogFormatter


def test_an_id_is_kept_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    first = kept_client_id("meters-recorder-main", tmp_path / "state")

    [file] = (tmp_path / "state").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("meters-recorder-main.client-id", 0o600)
    assert file.read_text() == f"{first}\n"
    assert kept_client_id("meters-recorder-main", tmp_path / "state") == first


def test_no_two_ids_have_the_same_secret(tmp_path: Path) -> None:
    kept = [kept_client_id(name, tmp_path) for name in ("meters-recorder-a", "meters-recorder-b")]
    ids = [*kept, client_id("meters-web"), client_id("meters-web")]

    secrets = {each.rpartition("-")[2] for each in ids}
    assert len(secrets) == 4
    assert {len(secret) for secret in secrets} == {24}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"meters-recorder-main\n", b"\0" * 4096])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meters-recorder-main.client-id"
    path.write_bytes(content)

    new = kept_client_id("meters-recorder-main", tmp_path)

    assert path.read_text() == f"{new}\n"


def test_a_directory_that_cannot_be_written_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")

    with pytest.raises(SettingsError, match=r"client-id: .*start the program in a directory"):
        kept_client_id("meters-recorder-main", tmp_path / "state")


def test_the_log_never_shows_the_secret_of_an_id() -> None:
    name = client_id("meters-recorder-my_group-main")
    record = logging.LogRecord("x", logging.INFO, "x", 1, "client %s at 1.2.3.4: x", (name,), None)

    line = LogFormatter().format(record)

    assert "client meters-recorder-my_group-main-*** at 1.2.3.4: x" in line
