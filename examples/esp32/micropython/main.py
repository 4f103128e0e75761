"""An ESP32 that measures and publishes: a complete Meterflow device in MicroPython.

Copy it to the board as main.py, with a config.py made from config.example.py. The firmware of
micropython.org includes umqtt.simple. Topics and payloads are those of docs/contract.md; write
the function `measure` for your own meter.

The device publishes `online` when it connects and has `offline` as its last will. It publishes
readings with the time from NTP, and their scalars. It reconnects by itself after a loss of Wi-Fi
or broker, and then sends what it has measured in the meantime.
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
    network = None  # MicroPython on a computer, whose network and clock are set up

KEEPALIVE_S = 30
PING_S = 10
RESPONSE_S = 10
WATCHDOG_S = 90
LONGEST_PAUSE_S = 30
MOST_QUEUED = 200
CLOCK_SET_YEAR = 2024
"""A clock that is not set shows 2000 or 1970."""
ERRORS = (OSError, MQTTException, AssertionError, IndexError, TypeError)
"""Errors that umqtt.simple raises, depending on where in a packet the connection ends."""


def measure() -> dict:
    """Return the meter's values: names from docs/quantities.md, numbers in their units.

    This example simulates a load, so that the device runs without a meter. Omit what your meter
    does not have; never send 0 for a value that you could not read. An energy counter has to
    continue after a restart: read it from the meter, or store it in flash.
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


class Device(MQTTClient):
    """The device's connection to the broker."""

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
        """Return whether there is a connection; connect if it is time to try again."""
        if not self.connected and time.ticks_diff(self.next_try, time.ticks_ms()) <= 0:
            try:
                join_wifi()
                set_clock()
                self.connect()
                self.connected = True
                self.send_text("status", "online", qos=1)
                self.pause_s = 1
                print("connected to", config.BROKER)
            except ERRORS as error:
                self.lost(error)
        return self.connected

    def send_text(self, leaf: str, text: str, qos: int = 0, retain: bool = True) -> None:
        """Publish under meters/<id>/; with QoS 1 wait for the acknowledgement."""
        self.pid %= (
            65535  # umqtt.simple counts past 65535 and then never recognises an acknowledgement
        )
        self.publish(self.topic + leaf, text.encode(), retain, qos)

    def send(self, queue: list) -> None:
        """Send readings, oldest first; remove each when the broker has acknowledged it."""
        try:
            while queue:
                # Only the newest is retained: later subscribers receive it first.
                self.send_text("reading", json.dumps(queue[0]), qos=1, retain=len(queue) == 1)
                newest = queue.pop(0)
                feed_watchdog()
            for name, value in newest.items():
                if name not in ("ts", "meter_id"):
                    self.send_text(name, str(value))
        except ERRORS as error:
            self.lost(error)

    def check(self) -> None:
        """Ping the broker; without this it would publish the last will."""
        try:
            self.ping()
            self.wait_msg()
        except ERRORS as error:
            self.lost(error)

    def wait_msg(self) -> object:
        """Wait for the broker's response, with a timeout."""
        self.sock.settimeout(RESPONSE_S)
        return super().wait_msg()

    def lost(self, error: Exception) -> None:
        """Close the connection, and schedule the next try."""
        print("no connection to", config.BROKER, "-", repr(error), "- again in", self.pause_s, "s")
        self.connected = False
        if self.sock:
            self.sock.close()
        self.next_try = time.ticks_add(time.ticks_ms(), self.pause_s * 1000)
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)


def run() -> None:
    """Measure and publish at every interval."""
    device = Device()
    queue = []
    due = time.ticks_ms()
    while True:
        feed_watchdog()
        online = device.online()  # before the first reading, because it sets the clock
        enqueue(queue, reading())
        if online:
            device.send(queue)
        due = time.ticks_add(due, int(config.INTERVAL_S * 1000))
        sleep_until(due, device)


def reading() -> dict:
    """Return a reading, with the time if the clock is set; otherwise Meterflow adds it."""
    whole = measure()
    whole["meter_id"] = config.METER_ID
    now_ns = time.time_ns()
    year, month, day, hour, minute, second = time.gmtime(now_ns // 1000000000)[:6]
    if year >= CLOCK_SET_YEAR:
        date = f"{year:04d}-{month:02d}-{day:02d}"
        milliseconds = now_ns // 1000000 % 1000
        whole["ts"] = f"{date}T{hour:02d}:{minute:02d}:{second:02d}.{milliseconds:03d}Z"
    return whole


def enqueue(queue: list, newest: dict) -> None:
    """Add a reading to the queue; drop those without a time, which are worth nothing later."""
    queue[:] = [earlier for earlier in queue if "ts" in earlier][-MOST_QUEUED + 1 :]
    queue.append(newest)


def sleep_until(due: int, device: Device) -> None:
    """Sleep, and keep the connection alive."""
    while (left_ms := time.ticks_diff(due, time.ticks_ms())) > 0:
        time.sleep_ms(min(left_ms, PING_S * 1000))
        feed_watchdog()
        if device.connected and left_ms > PING_S * 1000:
            device.check()


def join_wifi() -> None:
    """Join the Wi-Fi of config.py. Raises OSError if that takes too long."""
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
    """Set the clock by NTP; without it readings have their time of arrival."""
    if network is None:
        return
    try:
        ntptime.settime()
    except OSError as error:
        print("no time from", ntptime.host, "-", repr(error))


watchdog = WDT(timeout=WATCHDOG_S * 1000) if network else None


def feed_watchdog() -> None:
    """Reset the watchdog, which restarts a board that hangs."""
    if watchdog:
        watchdog.feed()


run()
