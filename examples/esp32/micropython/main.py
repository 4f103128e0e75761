"""An ESP32 that measures and publishes: a complete unit of Meterflow in MicroPython.

Copy it to the board as main.py, beside a config.py made from config.example.py. The firmware of
micropython.org brings umqtt.simple with it. The topics and payloads are those of
docs/contract.md; `measure` is the one function to write for a meter of your own.

It publishes `online` when it connects and leaves `offline` as its last will, sends whole readings
with the time from NTP and their numbers one by one, comes back by itself when Wi-Fi or broker
were away, and then sends what it has measured meanwhile.
"""

import json
import math
import time

import config
from umqtt.simple import MQTTClient, MQTTException

try:
    import network
    import ntptime
    from machine import WDT
except ImportError:
    network = None  # MicroPython on a computer: it is on the network, its clock is set

KEEPALIVE_S = 30
PING_S = 10
ANSWER_S = 10
WATCHDOG_S = 90
LONGEST_PAUSE_S = 30
MOST_WAITING = 200
CLOCK_IS_SET = 2024
"""A clock that nobody has set begins in 2000, or in 1970."""
TROUBLE = (OSError, MQTTException, AssertionError, IndexError, TypeError)
"""What umqtt.simple raises, depending on where in a packet the connection ends."""


def measure() -> dict:
    """Return what the meter shows: names from docs/quantities.md, numbers in their units.

    Here a load that comes and goes, so that the unit runs without a meter. Leave out what your
    meter does not have; never send 0 for a value that you could not read. A counter of energy
    goes on after a restart: take it from the meter, or keep it in flash.
    """
    seconds = time.ticks_ms() / 1000
    voltage = 230 + 2 * math.sin(seconds / 60)
    power = 500 + 300 * math.sin(seconds / 300)
    return {
        "voltage": round(voltage, 1),
        "current": round(power / voltage, 3),
        "power": round(power, 1),
        "energy": round(time.time() / 7200, 3),
    }


class Unit(MQTTClient):
    """The unit's connection to the broker."""

    def __init__(self) -> None:
        super().__init__(
            config.METER_ID,
            config.BROKER,
            config.PORT,
            config.USER,
            config.PASSWORD,
            keepalive=KEEPALIVE_S,
        )
        self.topic = "meters/" + config.METER_ID + "/"
        self.set_last_will(self.topic + "status", "offline", retain=True, qos=1)
        self.connected = False
        self.pause_s = 1
        self.next_try = time.ticks_ms()

    def online(self) -> bool:
        """Tell whether there is a connection; make one where it is time to try again."""
        if not self.connected and time.ticks_diff(self.next_try, time.ticks_ms()) <= 0:
            try:
                join_wifi()
                set_clock()
                self.connect()
                self.connected = True
                self.say("status", "online", qos=1)
                self.pause_s = 1
                print("connected to", config.BROKER)
            except TROUBLE as error:
                self.lost(error)
        return self.connected

    def say(self, leaf: str, text: str, qos: int = 0, retain: bool = True) -> None:
        """Publish under meters/<id>/; with QoS 1 wait until the broker has it."""
        self.pid %= 65535  # umqtt.simple would count on, and never see its answer again
        self.publish(self.topic + leaf, text.encode(), retain, qos)

    def send(self, waiting: list) -> None:
        """Send readings, oldest first; each leaves the list when the broker has it."""
        try:
            while waiting:
                # Retained is only the newest: it is what late subscribers get first.
                self.say("reading", json.dumps(waiting[0]), qos=1, retain=len(waiting) == 1)
                newest = waiting.pop(0)
                feed_watchdog()
            for name, value in newest.items():
                if name not in ("ts", "meter_id"):
                    self.say(name, str(value))
        except TROUBLE as error:
            self.lost(error)

    def check(self) -> None:
        """Ask the broker whether it is there; without this the last will would be said."""
        try:
            self.ping()
            self.wait_msg()
        except TROUBLE as error:
            self.lost(error)

    def wait_msg(self) -> object:
        """Wait for the broker's answer, but not for ever."""
        self.sock.settimeout(ANSWER_S)
        return super().wait_msg()

    def lost(self, error: Exception) -> None:
        """Close what is left of the connection, and try again later."""
        print("no connection to", config.BROKER, "-", repr(error), "- again in", self.pause_s, "s")
        self.connected = False
        if self.sock:
            self.sock.close()
        self.next_try = time.ticks_add(time.ticks_ms(), self.pause_s * 1000)
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)


def run() -> None:
    """Measure and publish at each interval, for ever."""
    unit = Unit()
    waiting = []
    due = time.ticks_ms()
    while True:
        feed_watchdog()
        online = unit.online()  # before the first reading, because it sets the clock
        keep(waiting, reading())
        if online:
            unit.send(waiting)
        due = time.ticks_add(due, int(config.INTERVAL_S * 1000))
        rest_until(due, unit)


def reading() -> dict:
    """Measure, and add the time where the clock is set; Meterflow adds it otherwise."""
    whole = measure()
    whole["meter_id"] = config.METER_ID
    now_ns = time.time_ns()
    year, month, day, hour, minute, second = time.gmtime(now_ns // 1000000000)[:6]
    if year >= CLOCK_IS_SET:
        date = f"{year:04d}-{month:02d}-{day:02d}"
        milliseconds = now_ns // 1000000 % 1000
        whole["ts"] = f"{date}T{hour:02d}:{minute:02d}:{second:02d}.{milliseconds:03d}Z"
    return whole


def keep(waiting: list, newest: dict) -> None:
    """Add a reading to those that wait; one without a time is worth nothing later."""
    waiting[:] = [earlier for earlier in waiting if "ts" in earlier][-MOST_WAITING + 1 :]
    waiting.append(newest)


def rest_until(due: int, unit: Unit) -> None:
    """Sleep, and keep the connection alive meanwhile."""
    while (left_ms := time.ticks_diff(due, time.ticks_ms())) > 0:
        time.sleep_ms(min(left_ms, PING_S * 1000))
        feed_watchdog()
        if unit.connected and left_ms > PING_S * 1000:
            unit.check()


def join_wifi() -> None:
    """Join the Wi-Fi of config.py; raises OSError where that takes too long."""
    if network is None:
        return
    station = network.WLAN(network.STA_IF)
    station.active(True)
    if not station.isconnected():
        station.connect(config.WIFI_SSID, config.WIFI_PASSWORD)
    for _ in range(150):
        if station.isconnected():
            return
        feed_watchdog()
        time.sleep_ms(100)
    raise OSError("no Wi-Fi " + config.WIFI_SSID)


def set_clock() -> None:
    """Set the clock by NTP; without it readings bear the time of their arrival."""
    if network is None:
        return
    try:
        ntptime.settime()
    except OSError as error:
        print("no time from", ntptime.host, "-", repr(error))


watchdog = WDT(timeout=WATCHDOG_S * 1000) if network else None


def feed_watchdog() -> None:
    """Tell the watchdog that all is well; it restarts a board that hangs."""
    if watchdog:
        watchdog.feed()


run()
