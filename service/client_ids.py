"""Client ids: the names of the services at the broker, each with a secret at its end.

A broker closes a connection when another client connects with the same client id, and deletes the
queue of a session for one that asks for a clean session. So nobody may know the id of a service.
One that has a session needs the same id at each start: a file keeps it.
"""

import re
import secrets
from pathlib import Path

from service.errors import SettingsError
from service.files import make_directory, replacing

STATE = Path("state")
SECRET_BYTES = 12


def client_id(name: str) -> str:
    """Return a client id of which nobody has heard: another one at each call."""
    return f"{name}-{secrets.token_hex(SECRET_BYTES)}"


def kept_client_id(name: str, directory: Path = STATE) -> str:
    """Return the client id in `state/<name>.client-id`; create the file where there is none.

    Raises SettingsError where that is impossible.
    """
    path = directory / f"{name}.client-id"
    try:
        kept = path.read_text(errors="replace").strip() if path.exists() else ""
        if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{{2 * SECRET_BYTES}}}", kept):
            return kept
        make_directory(directory)
        with replacing(path, text=True) as file:
            file.write(f"{(new := client_id(name))}\n")
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}; it keeps the client id at the broker: start the program in "
            "a directory that it may write to"
        ) from error
    return new
