"""Own topics: retained messages of one service, published again where others have replaced them.

Anyone who may publish can replace a retained message, by `offline` or by nothing. The owner
subscribes to its own topics, and publishes again what the broker no longer holds.
"""

import math
import zlib

SETTLED_S = 1.0
"""Seconds that a foreign message must stay the last one: ours may be on its way."""
AGAIN_S = 2.0
"""Shortest time between two corrections of a topic."""


class OwnTopics:
    """What a service has published last on each of its topics; `now_s` is a monotonic clock.

    `keep` may be called from any thread, the other methods from one.
    """

    def __init__(self) -> None:
        self._own: dict[bytes, bytes] = {}
        self._due_s: dict[bytes, float] = {}
        self._corrected_s: dict[bytes, float] = {}

    def keep(self, topic: str, payload: str) -> None:
        """Note what is about to be published; compressed, for discovery is long."""
        self._own[topic.encode()] = zlib.compress(payload.encode(), 1)

    def has(self, topic: bytes) -> bool:
        """Return whether a topic is one of ours."""
        return topic in self._own

    def connected(self) -> None:
        """Forget what others have published: all is published again on a new connection."""
        self._due_s.clear()

    def received(self, topic: bytes, payload: bytes, now_s: float) -> None:
        """Note what the broker delivers on a topic of ours."""
        if payload == zlib.decompress(self._own[topic]):
            self._due_s.pop(topic, None)
        else:
            earliest_s = self._corrected_s.get(topic, -math.inf) + AGAIN_S
            self._due_s.setdefault(topic, max(now_s + SETTLED_S, earliest_s))

    def due(self, now_s: float) -> list[tuple[str, str]]:
        """Return topics and payloads to publish again now."""
        if not self._due_s:
            return []
        due = [topic for topic, due_s in self._due_s.items() if due_s <= now_s]
        for topic in due:
            del self._due_s[topic]
            self._corrected_s[topic] = now_s
        return [(topic.decode(), zlib.decompress(self._own[topic]).decode()) for topic in due]
