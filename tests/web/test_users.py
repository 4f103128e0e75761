"""Users and tokens: the commands that make them, the file that keeps them."""

import fcntl
import io
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from meterflow.__main__ import main
from service.errors import SettingsError
from tests.support.parts import ROOT
from web.users import UsersFile, is_password, read_accounts, remove, set_token, set_user

PASSWORD = "correct horse"


def web(*words: str, directory: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `meterflow web …` as a script does, but in this process, which has imported it."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        chdir(directory),
        mock.patch.dict(os.environ, {"PATH": os.environ["PATH"]}, clear=True),
        mock.patch("sys.stdin", io.StringIO(given)),
        redirect_stdout(output),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        main(["web", *words])
    code = int(ended.value.code or 0)
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())


def web_at_a_terminal(*words: str, directory: Path, typed: tuple[str, ...]) -> tuple[int, str]:
    """Run `meterflow web …` as a person does; return its exit code and what the terminal shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meterflow", "web", *words],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown = ""
    for line in typed:
        while not shown.rstrip(" ").endswith(":"):
            shown += os.read(ours, 4096).decode()
        os.write(ours, f"{line}\n".encode())
        shown += "\n"
    try:
        while more := os.read(ours, 4096):
            shown += more.decode()
    except OSError:  # what Linux answers when the other side is closed
        pass
    os.close(ours)
    return process.wait(30), shown


def test_a_user_is_kept_hashed_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    answer = web("add-user", "anna", directory=tmp_path, given=f"{PASSWORD}\n")

    file = tmp_path / "state" / "web-users"
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("anna: user with the role viewer in ")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert file.read_text().startswith("user anna viewer scrypt:")
    assert PASSWORD not in file.read_text()
    assert is_password(read_accounts(file).user("anna"), PASSWORD)


def test_a_token_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    answer = web("add-token", "logger", "--role", "editor", directory=tmp_path)

    [token] = re.findall(r"^token: (\S+)   \(shown only this once\)$", answer.stdout, re.MULTILINE)
    accounts = read_accounts(tmp_path / "state" / "web-users")
    assert len(token) == 43  # 256 bits
    assert token not in (tmp_path / "state" / "web-users").read_text()
    account = accounts.token(token)
    assert account
    assert (account.name, account.role) == ("logger", "editor")
    assert accounts.token(f"{token}x") is None


def test_a_person_types_the_password_twice_and_does_not_see_it(tmp_path: Path) -> None:
    code, shown = web_at_a_terminal(
        "add-user", "anna", directory=tmp_path, typed=(PASSWORD, PASSWORD)
    )

    assert code == 0, shown
    assert PASSWORD not in shown
    assert is_password(read_accounts(tmp_path / "state" / "web-users").user("anna"), PASSWORD)


def test_two_different_passwords_change_nothing(tmp_path: Path) -> None:
    code, shown = web_at_a_terminal(
        "add-user", "anna", directory=tmp_path, typed=(PASSWORD, "correct house")
    )

    assert code == 2
    assert "the two passwords differ; nothing was changed" in shown
    assert not (tmp_path / "state" / "web-users").exists()


def test_without_a_password_one_is_generated_and_shown(tmp_path: Path) -> None:
    answer = web("add-user", "anna", directory=tmp_path)

    [password] = re.findall(r"^password: (\S+) ", answer.stdout, re.MULTILINE)
    assert is_password(read_accounts(tmp_path / "state" / "web-users").user("anna"), password)


def test_users_are_listed_and_removed(tmp_path: Path) -> None:
    set_user(tmp_path / "state" / "web-users", "anna", None, PASSWORD)
    set_token(tmp_path / "state" / "web-users", "logger", "editor")

    listed = web("list", directory=tmp_path).stdout
    removed = web("remove", "anna", directory=tmp_path)
    again = web("remove", "anna", directory=tmp_path)

    assert [line.split() for line in listed.splitlines()] == [
        ["anna", "user", "viewer"],
        ["logger", "token", "editor"],
    ]
    assert removed.stdout.startswith("anna: user removed from ")
    assert list(read_accounts(tmp_path / "state" / "web-users").by_name) == ["logger"]
    assert again.returncode == 2
    assert "no user or token of that name" in again.stderr


def test_python_m_web_has_the_same_commands(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "web", "list"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert answer.returncode == 0
    assert "'meterflow web add-user NAME' adds one" in answer.stdout


def test_a_new_password_keeps_the_role(tmp_path: Path) -> None:
    path = tmp_path / "web-users"
    set_user(path, "anna", "editor", PASSWORD)

    changed = set_user(path, "anna", None, "another horse")

    assert changed.role == "editor"
    assert len(read_accounts(path).by_name) == 1
    assert not is_password(changed, PASSWORD)


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "web-users"
    set_token(path, "logger", None)

    with pytest.raises(SettingsError, match="at least 8 characters"):
        set_user(path, "anna", None, "short")
    with pytest.raises(SettingsError, match="1 to 32 letters"):
        set_user(path, "anna x", None, PASSWORD)
    with pytest.raises(SettingsError, match="the name of a token already"):
        set_user(path, "logger", None, PASSWORD)
    with pytest.raises(SettingsError, match="no user or token of that name"):
        remove(path, "anna")


def test_a_service_notices_a_changed_file(tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "web-users")
    assert not file.accounts().has_users

    set_user(tmp_path / "web-users", "anna", None, PASSWORD)
    assert file.accounts().user("anna")

    remove(tmp_path / "web-users", "anna")
    assert not file.accounts().has_users


@pytest.mark.parametrize(
    "damage", ["user anna", "\0", "user anna admin x", "user anna viewer md5$x$y", "gone"]
)
def test_a_file_damaged_while_the_service_runs_changes_nothing_and_is_reported(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "web-users"
    set_user(path, "anna", None, PASSWORD)
    file = UsersFile(path)

    path.unlink() if damage == "gone" else path.write_text(damage)

    assert file.accounts().user("anna")
    assert file.accounts().user("anna")
    [line] = caplog.messages
    assert line.startswith(f"WEB_USERS_FILE {path}: ")
    assert line.endswith("; keeping the users read before")


def test_a_service_does_not_start_with_an_invalid_file(tmp_path: Path) -> None:
    set_user(tmp_path / "web-users", "anna", None, PASSWORD)
    with (tmp_path / "web-users").open("a") as file:
        file.write("user ben admin x\n")

    with pytest.raises(SettingsError, match=r"web-users: line 2 should be 'user NAME ROLE HASH'"):
        UsersFile(tmp_path / "web-users")


def test_a_line_that_the_disk_has_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "web-users"
    set_user(file, "anna", "viewer", PASSWORD)
    file.write_text(file.read_text().replace("anna", "anne"))

    with pytest.raises(SettingsError, match="line 1 was changed by hand or by a failing disk"):
        read_accounts(file)


def test_a_line_without_a_checksum_is_read(tmp_path: Path) -> None:
    file = tmp_path / "web-users"
    set_user(file, "anna", "viewer", PASSWORD)
    file.write_text(file.read_text().rpartition(" ")[0] + "\n")

    assert is_password(read_accounts(file).user("anna"), PASSWORD)
