// The server: REST, and the live connection with its state in the header.

import { setText } from "./catalogue.js";
import { io } from "./vendor/socket.io.esm.min.js";

const FILTERS = [
  "meters/+/reading", "meters/+/status", "meters/_bridge/+/status", "meters/_recorder/+/status",
];
const SETTLE_MS = 300;
const FRESH_MS = 4000;
const FIRST_MS = 1500;
const FRAME_MS = 250;

/** The path below which a reverse proxy serves all this, such as /meterflow; mostly empty. */
export const BASE = document.documentElement.dataset.base;

let offset_ms = 0;

/** Seconds since 1970 by the server's clock: a browser's clock may be minutes off. */
export const now_s = () => (Date.now() + offset_ms) / 1000;

function learnOffset(response) {
  const server_ms = Date.parse(response.headers.get("Date") ?? "");
  const off = server_ms + 500 - Date.now(); // the header has whole seconds
  offset_ms = Math.abs(off) > 2000 ? off : 0;
}

/** Open the login page where the server requires a login, for example because the session ended. */
function logInWhereRequired(response) {
  if (response.status !== 401) return;
  const here = location.pathname.slice(BASE.length) + location.search;
  location.assign(`${BASE}/login?next=${encodeURIComponent(here)}`);
}

/** Fetch JSON; throws an Error with the server's message where it refuses. */
export async function getJson(path) {
  const response = await fetch(BASE + path, { headers: { Accept: "application/json" } });
  learnOffset(response);
  logInWhereRequired(response);
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const detail = typeof body.detail === "string" ? body.detail : `error ${response.status}`;
    throw new Error(detail);
  }
  return response.json();
}

/** Columns of some quantities of a meter, from and to in epoch seconds. */
export function series(meterId, quantities, from_s, to_s, points) {
  const iso = (at_s) => new Date(at_s * 1000).toISOString();
  const query = new URLSearchParams({
    quantities: quantities.join(","), from: iso(from_s), to: iso(to_s), points,
  });
  return getJson(`/meters/${encodeURIComponent(meterId)}/series?${query}`);
}

/** Show an error message above the page's content; an empty text removes it. */
export function notice(text) {
  const bar = document.getElementById("notice");
  setText(bar, text);
  bar.hidden = !text;
}

/**
 * Return a function that schedules a call of `draw`: at most four times a second, in step with the
 * screen, and not at all while the page is hidden.
 */
export function paced(draw) {
  let waiting = false;
  let last = -Infinity;
  return () => {
    if (waiting || document.hidden) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame((at) => {
      waiting = false;
      last = at;
      draw();
    }), Math.max(0, last + FRAME_MS - performance.now()));
  };
}

/**
 * Stay connected. Calls `onReading(meterId, reading)` for each live reading, `onStatus(meterId,
 * text)` for each status of a meter (it returns whether that is a change), and `onChange(whole)`
 * when REST must be queried again: for the meters after a change of status, also for what was missed
 * (`whole`) after a new connection and when the page becomes visible. Returns a function that does
 * the latter.
 *
 * `first` is the page's first REST request; the subscription waits for it, but not for long. The
 * server answers a subscription with the latest messages, so that nothing is lost between the two.
 */
export function connect({ first, onReading, onStatus, onChange }) {
  const socket = io({
    path: `${BASE}/socket.io`,
    transports: ["websocket"],
    reconnectionDelay: 500,
    reconnectionDelayMax: 5000,
    randomizationFactor: 0.5,
  });
  let broker = { connected: true, trouble: null };
  let history = broker;
  let timer = null;
  let missed = false;
  const statuses = new Map();
  const began = performance.now();

  const changed = (whole) => {
    missed ||= whole;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (document.hidden) return;
      onChange(missed);
      missed = false;
    }, SETTLE_MS);
  };
  const show = () => showConnection(socket, broker, history, statuses);

  const late = new Promise((resolve) => { setTimeout(resolve, FIRST_MS); });
  const ready = Promise.race([first, late]);

  socket.on("connect", () => {
    ready.then(() => socket.emit("subscribe", FILTERS));
    show();
    // A page that has just been loaded has just requested it.
    if (performance.now() - began > FRESH_MS) changed(true);
  });
  socket.on("disconnect", (reason) => {
    show();
    if (reason === "io server disconnect") socket.connect();
  });
  socket.on("connect_error", () => {
    show();
    // A browser does not say why a WebSocket was refused.
    fetch(`${BASE}/meters/`, { method: "HEAD" }).then(logInWhereRequired, () => {});
  });
  socket.on("broker", (state) => {
    if (state.connected && !broker.connected) changed(true);
    broker = state;
    show();
  });
  socket.on("history", (state) => { history = state; show(); });
  socket.on("message", ({ topic, payload }) => {
    const parts = topic.split("/");
    const leaf = parts.at(-1);
    if (leaf === "reading" && payload) onReading(parts[1], payload);
    if (leaf === "status") {
      // Sent between the page's first request and its subscription, "offline" is a change, too.
      const before = statuses.get(topic) ?? "online";
      statuses.set(topic, payload);
      if (parts.length > 3) show();
      const isChange = parts.length === 3 && onStatus(parts[1], payload);
      if (isChange || before !== payload) changed(false);
    }
  });
  document.addEventListener("visibilitychange", () => changed(true));
  show();
  return changed;
}

let everConnected = false;

/** The names of a kind of service, as in "_bridge", whose status is this one. */
const having = (statuses, kind, status) => [...statuses]
  .filter(([topic, each]) => topic.split("/")[1] === kind && each === status)
  .map(([topic]) => topic.split("/")[2]).sort().join(", ");

/** What is missing: a word for the header's pill, if any, and a sentence that says what is lost. */
function missing(connected, broker, history, statuses) {
  if (!connected) {
    return everConnected ? [["", "The web service does not respond: the values are the last known."]] : [];
  }
  if (!broker.connected) {
    const why = broker.trouble ? ` (${broker.trouble})` : "";
    return [["Broker offline", `The broker is offline${why}: no new values arrive.`]];
  }
  const found = [];
  const [recorders, bridges] = ["_recorder", "_bridge"].map((k) => having(statuses, k, "offline"));
  if (recorders && !having(statuses, "_recorder", "online")) {
    found.push(["Recorder offline",
      `Recorder ${recorders} is offline: readings are not stored until it runs.`]);
  }
  if (!history.connected) {
    found.push(["History away", `The history is unavailable (${history.trouble}): no charts, no energy.`]);
  }
  if (bridges) found.push(["", `Bridge ${bridges} is offline: its meters are not read until it runs.`]);
  return found;
}

function showConnection(socket, broker, history, statuses) {
  const target = document.getElementById("connection");
  everConnected ||= socket.connected;
  const found = missing(socket.connected, broker, history, statuses);
  const word = found.find(([each]) => each)?.[0];
  target.dataset.state = socket.connected ? (word ? "broker" : "live") : "away";
  const text = socket.connected ? "Live" : everConnected ? "Reconnecting…" : "Connecting…";
  setText(target, word ?? text);
  const strip = document.getElementById("missing");
  setText(strip, found.map(([, sentence]) => sentence).join(" "));
  strip.hidden = !strip.textContent;
}
