"""Access rights: who may publish and subscribe to what, from a file in Mosquitto's format.

    topic read meters/#              # clients without a user
    user recorder
    topic read meters/#              # read, write or readwrite
    pattern write meters/%u/#        # every user; %u is the name, %c the client id

Mosquitto and the embedded broker read the same file. What no line allows is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from contract.topics import filter_matches
from service.errors import SettingsError

_ACCESSES = {"read": "r", "write": "w", "readwrite": "rw"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A topic filter, and how it may be accessed: `r`, `w` or `rw`."""

    access: str
    topic_filter: str


@dataclass(slots=True)
class Rights:
    """The rules of each user, and the patterns for all of them."""

    users: dict[str | None, list[Rule]] = field(default_factory=dict)
    patterns: list[Rule] = field(default_factory=list)

    @classmethod
    def everything(cls) -> "Rights":
        """Return the rights of a broker without rules: every client may do everything."""
        return cls(patterns=[Rule("rw", "#"), Rule("r", "$SYS/#")])

    @classmethod
    def load(cls, path: Path) -> "Rights":
        """Read a file. Raises SettingsError with the number of an invalid line."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"BROKER_ACL_FILE {path} cannot be read: {error}") from error
        rights = cls()
        user: str | None = None
        for number, line in enumerate(text.splitlines(), 1):
            words = [] if line.lstrip().startswith("#") else line.split()
            if words[:1] == ["user"] and len(words) > 1:
                user = line.split(maxsplit=1)[1].strip()
            elif words:
                rights._add(words, user, f"BROKER_ACL_FILE {path}, line {number}: {line.strip()}")
        return rights

    def may_write(self, user: str | None, client_id: str, topic: str) -> bool:
        """Return whether a client may publish to a topic; topics in `$` are the broker's own."""
        return not topic.startswith("$") and any(
            filter_matches(allowed, topic) for allowed in self._allowed("w", user, client_id)
        )

    def may_read(self, user: str | None, client_id: str, topic_filter: str) -> bool:
        """Return whether a client may subscribe: one rule must cover the whole filter."""
        return any(covers(allowed, topic_filter) for allowed in self._allowed("r", user, client_id))

    def _allowed(self, access: str, user: str | None, client_id: str) -> Iterable[str]:
        for rule in self.users.get(user, []):
            if access in rule.access:
                yield rule.topic_filter
        for rule in self.patterns:
            if access in rule.access:
                filled = _filled(rule.topic_filter, user, client_id)
                if filled:
                    yield filled

    def _add(self, words: list[str], user: str | None, place: str) -> None:
        access = _ACCESSES.get(words[1] if len(words) > 2 else "readwrite")
        if words[0] not in {"topic", "pattern"} or len(words) not in {2, 3} or not access:
            raise SettingsError(
                f"{place}: should be 'user NAME', or 'topic' or 'pattern' with read, write or "
                "readwrite and a topic filter"
            )
        rules = self.patterns if words[0] == "pattern" else self.users.setdefault(user, [])
        rules.append(Rule(access, words[-1]))


def covers(allowed: str, wanted: str) -> bool:
    """Return whether `allowed` matches every topic that `wanted` matches."""
    permitted, requested = allowed.split("/"), wanted.split("/")
    if requested[0].startswith("$") and permitted[0] in {"+", "#"}:
        return False
    if requested[0] == "#" and permitted == ["+", "#"]:
        return True  # a topic has at least one level
    for level, part in enumerate(permitted):
        if part == "#":
            return True
        if level >= len(requested) or requested[level] == "#":
            return False
        if part not in {"+", requested[level]}:
            return False
    return len(permitted) == len(requested)


def _filled(pattern: str, user: str | None, client_id: str) -> str | None:
    levels = []
    for level in pattern.split("/"):
        name = {"%u": user, "%c": client_id}.get(level, level)
        # A name with a wildcard in it would allow more than its own topics.
        if name is None or (name != level and set("+#/") & set(name)):
            return None
        levels.append(name)
    return "/".join(levels)
