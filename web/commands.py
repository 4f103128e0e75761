"""`meterflow web add-user` and its siblings: who may use the web service."""

import argparse
import getpass
import secrets
import sys
from pathlib import Path

from service.errors import SettingsError
from service.program import add_command
from service.settings import is_loopback
from web.settings import WebSettings
from web.users import ROLES, Account, read_accounts, remove, set_token, set_user


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of the service; none is required."""
    commands = parser.add_subparsers(
        dest="command", metavar="{add-user,add-token,list,remove}", title="commands"
    )
    user = add_command(commands, "add-user", "add a user, or change the password or role of one")
    user.add_argument("name", help="name to log in with")
    token = add_command(commands, "add-token", "make a token for a program, or a new one")
    token.add_argument("name", help="name of the program")
    for each in (user, token):
        each.add_argument(
            "--role",
            choices=ROLES,
            help="a viewer reads, an editor also posts (default: viewer, or the role of before)",
        )
    add_command(commands, "list", "list users and tokens")
    leaving = add_command(commands, "remove", "remove a user or a token")
    leaving.add_argument("name", help="name of the user or the token")


def run_command(options: argparse.Namespace) -> None:
    """Run a command. Raises SettingsError where an argument is wrong or the file unusable."""
    settings = WebSettings.load()
    path = settings.web_users_file
    match options.command:
        case "add-user":
            _add_user(path, options)
            _show_next(settings)
        case "add-token":
            account, token = set_token(path, options.name, options.role)
            _say(_stored(account, path))
            _say(f"token: {token}   (shown only this once)")
            _show_next(settings)
        case "list":
            _list(path)
        case "remove":
            account = remove(path, options.name)
            _say(f"{account.name}: {account.kind} removed from {path.absolute()}")


def _add_user(path: Path, options: argparse.Namespace) -> None:
    given = _read_password(options.name)
    password = given or secrets.token_urlsafe(15)
    _say(_stored(set_user(path, options.name, options.role, password), path))
    if not given:
        _say(f"password: {password}   (shown only this once)")


def _read_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass(f"Password for {name} (empty: generate one): ")
    if password and getpass.getpass("The same password again: ") != password:
        raise SettingsError("the two passwords differ; nothing was changed")
    return password


def _stored(account: Account, path: Path) -> str:
    return f"{account.name}: {account.kind} with the role {account.role} in {path.absolute()}"


def _show_next(settings: WebSettings) -> None:
    _say("A web service that runs accepts this at once.")
    if is_loopback(settings.http_host):
        _say("It listens on this machine only; HTTP_HOST=0.0.0.0 opens it to the network.")


def _list(path: Path) -> None:
    accounts = read_accounts(path).by_name.values()
    if not accounts:
        _say(f"no users or tokens in {path.absolute()}; 'meterflow web add-user NAME' adds one")
        return
    for account in accounts:
        _say(f"{account.name:<32}  {account.kind:<5}  {account.role}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
