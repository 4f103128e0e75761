"""Who is let in to the embedded broker, and what then is theirs to read and write."""

import math
import secrets

from amqtt.errors import AMQTTError
from amqtt.session import Session

from broker import packets
from broker.packets import Connect
from broker.rights import Rights
from broker.users import Users

CONNECT_TIMEOUT_S = 10.0


class Refusal(AMQTTError):
    """Raised when a client is not let in; `answer` tells it why."""

    def __init__(self, code: int, reason: str, level: int = 4) -> None:
        self.answer = packets.connack(code, level=level)
        super().__init__(reason)


class Admission:
    """Asks for user and password where there are users, and knows everyone's rights."""

    def __init__(self, users: Users | None, rights: Rights) -> None:
        self._users = users
        self._rights = rights

    async def check(self, connect: Connect) -> None:
        """Let a client in, or raise Refusal. Nothing of a session has been touched before."""
        if connect.level != 4:
            spoken = {3: "3.1", packets.MQTT_5: "5"}.get(connect.level, f"level {connect.level}")
            raise Refusal(
                packets.WRONG_PROTOCOL,
                f"speaks MQTT {spoken}, the embedded broker 3.1.1 only (Mosquitto speaks 5 too)",
                connect.level,
            )
        if self._users and connect.user is None:
            raise Refusal(packets.NOT_ALLOWED, "comes without a user and a password")
        if self._users and not await self._users.accept(connect.user, connect.password):
            raise Refusal(packets.BAD_PASSWORD, f"user {connect.user!r:.40}: wrong password")
        if not (connect.client_id or connect.clean_session):
            raise Refusal(packets.BAD_CLIENT_ID, "wants a lasting session without a client id")
        self._check_will(connect)

    def may_write(self, session: Session, topic: str) -> bool:
        """Tell whether a client may publish to a topic."""
        return not topic.startswith("$") and self._rights.may_write(
            session.username, session.client_id, topic
        )

    def may_read(self, session: Session, topic_filter: str) -> bool:
        """Tell whether a client may subscribe to a filter."""
        return self._rights.may_read(session.username, session.client_id, topic_filter)

    def _check_will(self, connect: Connect) -> None:
        if connect.will is None:
            return
        topic = connect.will.topic
        allowed = self._rights.may_write(connect.user, connect.client_id, topic)
        if topic.startswith("$") or not allowed:
            raise Refusal(
                packets.NOT_ALLOWED,
                f"user {connect.user or '-'!r:.40} has no right to a last will on {topic[:80]!r}",
            )


def session_of(connect: Connect, remote_address: str, remote_port: int) -> Session:
    """Return a new session for a client that has been let in."""
    session = Session()
    session.client_id = connect.client_id or f"auto-{secrets.token_hex(8)}"
    session.clean_session = connect.clean_session
    session.username = connect.user
    session.remote_address, session.remote_port = remote_address, remote_port
    # MQTT 3.1.1, 3.1.2.10: silence of one and a half keepalives is the end.
    session.keep_alive = math.ceil(connect.keep_alive_s * 1.5)
    will = connect.will
    session.will_flag = will is not None
    if will:
        session.will_topic, session.will_message = will.topic, will.payload
        session.will_qos, session.will_retain = will.qos, will.retain
    return session
