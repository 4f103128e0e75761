"""The gateway between TCP clients and the line: connections, a queue, framing, moods."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Literal

from simulator.answers import frame
from simulator.bus import Answer, Bus
from simulator.cache import Cache
from simulator.clients import Client
from simulator.frames import Request, exception

NO_RESPONSE = 0x0B
BUSY = 0x06
_HEARTBEAT = b"\x5a\x4c\x41\x4e\x21"

Absent = Literal["silent", "exception"]


@dataclass(frozen=True, slots=True)
class Job:
    """A request in the queue, and who waits for it."""

    client: Client
    request: Request


class Gateway:
    """Queues the requests of all clients and puts them on the line one by one."""

    def __init__(self, bus: Bus, absent: Absent) -> None:
        self.bus = bus
        self.faults = bus.faults
        self.clients: list[Client] = []
        self._absent = absent
        self._cache = Cache(bus)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._previous: Answer | None = None

    def joined(self, client: Client) -> None:
        """Take a new connection in, as far as the gateway's mood allows."""
        statistics = self.bus.statistics
        statistics.connections += 1
        if self.faults.number("accept-reset") is not None:
            client.reset()
            return
        self.clients.append(client)
        limit, kick = self.faults.number("client-limit"), self.faults.number("kick")
        if limit is not None and len(self.clients) > limit:
            client.close()
        if kick is not None and len(self.clients) > kick:
            self.clients[0].close()
        statistics.most_clients = max(statistics.most_clients, len(self.clients))

    def left(self, client: Client) -> None:
        """Forget a connection; its requests still go over the line."""
        with contextlib.suppress(ValueError):
            self.clients.remove(client)

    def asked(self, client: Client, request: Request) -> None:
        """Queue a request, or answer it at once from memory or with 'busy'."""
        for held in client.held:
            client.hand(held)
        client.held.clear()
        if self.faults.number("silent") is not None:
            return
        full = self.faults.number("queue-full")
        remembered = self._cache.answer(request)
        if remembered is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(0.003, self._deliver, Job(client, request), Answer(remembered))
        elif full is not None and self._jobs.qsize() >= full:
            self._refuse(Job(client, request), BUSY)
        else:
            self._jobs.put_nowait(Job(client, request))

    async def work(self) -> None:
        """Serve the queue for ever; in its free time a caching gateway refreshes its memory."""
        while True:
            if self._jobs.empty() and self._cache.active():
                await self._cache.refresh()
                continue
            job = await self._jobs.get()
            answer = await self.bus.exchange(job.request)
            if answer is None:
                self._refuse(job, NO_RESPONSE)
                continue
            self._cache.store(job.request, answer.pdu)
            self._deliver(job, answer)

    async def live(self) -> None:
        """Do what a gateway does by the clock: drop idle clients, speak unasked."""
        spoken_at = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            idle_s = self.faults.number("idle-close")
            for client in list(self.clients):
                if idle_s is not None and now - client.last_request_at > idle_s:
                    client.close()
            every_s = self.faults.number("unsolicited")
            if every_s is not None and now - spoken_at >= every_s:
                spoken_at = now
                for client in self.clients:
                    client.hand(_HEARTBEAT)

    def _refuse(self, job: Job, code: int) -> None:
        if job.client.framing == "tcp" and (code == BUSY or self._absent == "exception"):
            answer = Answer(exception(job.request.function, code))
            job.client.hand(frame(job.client.framing, job.request, answer, self.faults))

    def _deliver(self, job: Job, answer: Answer) -> None:
        unit = job.request.unit
        previous, self._previous = self._previous, answer
        if previous is not None and self.faults.strikes(unit, "stale") is not None:
            answer = previous
        if self.faults.strikes(unit, "close") is not None:
            job.client.close()
        elif self.faults.strikes(unit, "reset") is not None:
            job.client.reset()
        else:
            self._send(
                job.client, unit, frame(job.client.framing, job.request, answer, self.faults)
            )

    def _send(self, client: Client, unit: int, sent: bytes) -> None:
        loop = asyncio.get_running_loop()
        late_s = self.faults.strikes(unit, "late")
        split_s = self.faults.strikes(unit, "split")
        if self.faults.strikes(unit, "late-after-next") is not None:
            client.held.append(sent)
        elif late_s is not None:
            loop.call_later(late_s, client.hand, sent)
        elif split_s is not None:
            client.hand_in_halves(sent, split_s)
        else:
            to_all = self.faults.number("to-all") is not None
            for receiver in list(self.clients) if to_all else [client]:
                receiver.hand(sent)
