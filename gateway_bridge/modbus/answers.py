"""Answers: what a meter said, and whether it is what it was asked. Pure."""

from dataclasses import dataclass

from gateway_bridge.modbus.frames import Frame


@dataclass(slots=True)
class Answer:
    """An answer, with the names by which pymodbus knows unit and transaction id."""

    dev_id: int
    transaction_id: int
    pdu: bytes
    retries: int = 0

    @classmethod
    def of(cls, frame: Frame) -> "Answer":
        """Return what a frame answers."""
        return cls(frame.unit, frame.transaction, frame.pdu)

    @property
    def function(self) -> int:
        """Which function was asked for, as the answer says."""
        return self.pdu[0] & 0x7F

    @property
    def exception(self) -> int | None:
        """The code of an exception, None of an ordinary answer."""
        return self.pdu[1] if self.pdu[0] & 0x80 else None

    @property
    def count(self) -> int:
        """How many registers it brings."""
        return 0 if self.pdu[0] & 0x80 else self.pdu[1] // 2

    @property
    def content(self) -> bytes:
        """The bytes of its registers."""
        return self.pdu[2:]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for."""

    unit: int
    function: int
    count: int

    def misfit(self, answer: Answer) -> str | None:
        """Return in words why a unit's answer is not the one to this request; None if it may be."""
        if answer.function != self.function:
            return f"answered function {answer.function}, asked for {self.function}"
        if answer.exception is not None:
            return None
        if answer.count != self.count:
            return f"answered {answer.count} registers, asked for {self.count}"
        if len(answer.content) != 2 * self.count:
            return f"answered {len(answer.content)} bytes and announced {2 * self.count}"
        return None
