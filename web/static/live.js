// The server: REST, and the live connection with its state in the header.

import { setText } from "./catalogue.js";
import { t } from "./language.js";
import { io } from "./vendor/socket.io.esm.min.js";

const FILTERS = [ // the first one only for pages that show readings
  "meters/+/reading", "meters/+/status", "meters/_bridge/+/status", "meters/_recorder/+/status",
];
const SETTLE_MS = 300;
const FRESH_MS = 4000;
const FIRST_MS = 1500;
const ASLEEP_MS = 10_000;
/** When to query what was missed: it is stored up to 30 s later. */
const FILL_MS = [0, 5000, 15_000, 40_000];

/** The path below which a reverse proxy serves all this, such as /meterflow; mostly empty. */
export const BASE = document.documentElement.dataset.base;

/** What is away between this page and the meters: "web", "broker" or nothing, since `since_s`. */
export const link = { away: "", since_s: -Infinity };

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

/** Send a request; an error has the `status` of the response, and its invalid fields: `problems`. */
export async function request(path, { headers = {}, ...options } = {}) {
  const accepting = { Accept: "application/json", ...headers };
  const response = await fetch(BASE + path, { ...options, headers: accepting });
  learnOffset(response);
  logInWhereRequired(response);
  if (response.ok) return response;
  const { status } = response, { detail } = await response.json().catch(() => ({}));
  const problems = Array.isArray(detail) ? detail : [];
  const text = problems.map(({ loc, msg }) => `${loc.at(-1)} ${msg}`).join("; ") || detail;
  throw Object.assign(new Error(text || t("error {status}", { status })), { status, problems });
}

/** Fetch JSON; throws an Error with the server's message where it refuses. */
export const getJson = async (path) => (await request(path)).json();

/** Show an error message above the page's content; an empty text removes it. */
export function notice(text) {
  const bar = document.getElementById("notice");
  setText(bar, text);
  bar.hidden = !text;
}

/**
 * Stay connected. Calls `onReading(meterId, reading)`, if given, `onStatus(meterId, text)`, which returns
 * whether the status is a change, and `onChange(whole)` when REST must be queried again: for the
 * meters, and if `whole` also for readings that were missed. Returns a function that does so.
 *
 * The subscription waits for `first`, the page's first request, but not for long. The latest
 * messages answer it, so that nothing is lost between the two.
 */
export function connect({ first, onReading = null, onStatus = () => false, onChange }) {
  const socket = io({
    path: `${BASE}/socket.io`,
    transports: ["websocket"],
    reconnectionDelay: 500,
    reconnectionDelayMax: 3000,
    randomizationFactor: 0.3,
  });
  const states = { broker: { connected: true }, history: { connected: true } };
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
  const fill = () => FILL_MS.forEach((ms) => setTimeout(changed, ms, true));
  const show = () => showConnection(socket, states, statuses);

  const late = new Promise((resolve) => { setTimeout(resolve, FIRST_MS); });
  const ready = Promise.race([first, late]);

  socket.on("connect", () => {
    ready.then(() => socket.emit("subscribe", FILTERS.slice(onReading ? 0 : 1)));
    show();
    // A page that has just been loaded has just requested it.
    if (performance.now() - began > FRESH_MS) fill();
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
  for (const name of Object.keys(states)) {
    socket.on(name, (state) => {
      if (state.connected && !states[name].connected) fill();
      states[name] = state;
      show();
    });
  }
  socket.on("missed", fill);
  socket.on("message", ({ topic, payload }) => {
    const parts = topic.split("/");
    const leaf = parts.at(-1);
    if (leaf === "reading" && payload) onReading(parts[1], payload);
    if (leaf === "status") {
      // The page's first request knew none that was offline.
      const before = statuses.get(topic) ?? "online";
      statuses.set(topic, payload);
      if (parts.length > 3) show();
      if (parts.length === 3 ? onStatus(parts[1], payload) : before !== payload) changed(false);
    }
  });
  document.addEventListener("visibilitychange", () => changed(true));
  // After a laptop's sleep the connection is dead.
  const renew = () => socket.disconnect().connect();
  addEventListener("online", renew);
  let awake = Date.now();
  setInterval(() => {
    if (Date.now() - awake > ASLEEP_MS && !document.hidden) renew();
    awake = Date.now();
  }, 1000);
  show();
  return changed;
}

let everConnected = false;
// It exists with TLS, or on this machine; without a certificate that the browser knows, it is refused.
navigator.serviceWorker?.register(`${BASE}/service-worker.js`).catch(() => {});

/** The names of a kind of service, as in "_bridge", whose status is this one. */
const having = (statuses, kind, status) => [...statuses]
  .filter(([topic, each]) => topic.split("/")[1] === kind && each === status)
  .map(([topic]) => topic.split("/")[2]).sort().join(", ");

/** What is missing: a word for the header's pill, if any, and a sentence that says what is lost. */
function missing(connected, broker, history, statuses) {
  if (!connected) {
    if (!everConnected) return [];
    return [["", t("The web service does not respond: the values are the last known. Start it, or check the network.")]];
  }
  if (!broker.connected) {
    const why = broker.trouble ? ` (${broker.trouble})` : "";
    return [[t("Broker offline"),
      t("The broker is offline{why}: no new values arrive. Start it, or check MQTT_HOST.", { why })]];
  }
  const found = [];
  const [recorders, bridges] = ["_recorder", "_bridge"].map((k) => having(statuses, k, "offline"));
  if (recorders && !having(statuses, "_recorder", "online")) {
    found.push([t("Recorder offline"),
      t("Recorder {recorders} is offline: readings are not stored until it runs.", { recorders })]);
  }
  if (!history.connected) {
    found.push([t("History away"),
      t("The history is unavailable ({trouble}): no charts, no energy.", { trouble: history.trouble })]);
  }
  if (bridges) {
    found.push(["", t("Bridge {bridges} is offline: its meters are not read until it runs.", { bridges })]);
  }
  return found;
}

function showConnection(socket, { broker, history }, statuses) {
  const target = document.getElementById("connection");
  everConnected ||= socket.connected;
  const away = !socket.connected && everConnected ? "web" : broker.connected ? "" : "broker";
  if (away !== link.away) Object.assign(link, { away, since_s: now_s() });
  const found = missing(socket.connected, broker, history, statuses);
  const word = found.find(([each]) => each)?.[0];
  target.dataset.state = socket.connected ? (word ? "broker" : "live") : "away";
  const connecting = everConnected ? t("Reconnecting…") : t("Connecting…");
  setText(target, word ?? (socket.connected ? t("Live") : connecting));
  const strip = document.getElementById("missing");
  setText(strip, found.map(([, sentence]) => sentence).join(" "));
  strip.hidden = !strip.textContent;
}
