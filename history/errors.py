"""The error of the history."""

from contract.errors import MeterflowError


class StorageError(MeterflowError):
    """Raised when a database or a file of readings cannot be used.

    `transient` is true where waiting helps, as with a full disk or a server that is restarting.
    Otherwise a person has to act; `remedy` is what to do, where that is known.
    """

    def __init__(self, problem: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.remedy = remedy
        self.transient = transient
