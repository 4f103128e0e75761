// The overview: the house, and a card or a row for each meter.

import { paced, split } from "./catalogue.js";
import { Card, Rest } from "./card.js";
import { showDay } from "./day.js";
import { showFlow } from "./flow.js";
import { showHouse } from "./house.js";
import { t } from "./language.js";
import { connect, getJson, notice, now_s } from "./live.js";
import { showNotes } from "./notes.js";
import { allNodes, nodeOf, refreshSite, restPower, siteChanged } from "./site.js";

/** Cards up to here; rows past it, the faulty first. */
const MOST_CARDS = 8;
const FEW = 12;
const MOST_TRACES = 50;
const TRACE_POINTS = 450;
const WINDOWS_S = [900, 3600, 6 * 3600];
const TOGETHER_MS = 100;

const cards = new Map();
const rests = new Map();
const list = document.getElementById("cards");
const natural = new Intl.Collator(undefined, { numeric: true });

let tick_s = 0;
let answered = false;
let seeding = null;

function cardOf(id) {
  let card = cards.get(id);
  if (!card) {
    card = new Card(id);
    cards.set(id, card);
    list.append(card.root);
    watcher.observe(card.root);
    siteChanged();
  }
  return card;
}

/** The ids of all meters: in the order of the house, then those that are not part of it. */
function ordered() {
  const known = allNodes().map(({ meter_id: id }) => id).filter((id) => cards.has(id));
  const others = [...cards.keys()].filter((id) => !known.includes(id));
  return [...known, ...others.toSorted(natural.compare)];
}

/** The power of a meter that is online; null for others. */
function powerOf(id, now) {
  const meter = cards.get(id)?.meter;
  return meter?.state(now) === "online" ? meter.value("power") ?? null : null;
}

/** Put cards and rests into their order, and write what no meter below another one measures. */
function arrange(ids, now) {
  const isLong = cards.size > MOST_CARDS;
  list.classList.toggle("rows", isLong);
  const isWell = (id) => ["online", "waiting"].includes(cards.get(id).meter.state(now));
  const sorted = isLong ? [...ids.filter((id) => !isWell(id)), ...ids.filter(isWell)] : ids;
  const roots = sorted.map((id) => cards.get(id).root);
  const isBelow = (node, above) => Boolean(node) && (node === above || isBelow(node.parent, above));
  for (const node of allNodes()) {
    if (!node.children.length || !cards.has(node.meter_id)) continue;
    if (!rests.has(node.meter_id)) rests.set(node.meter_id, new Rest(node));
    const rest = rests.get(node.meter_id);
    const power = restPower(node, (id) => powerOf(id, now));
    rest.show(split("power", power), node.today?.rest);
    const place = roots.findLastIndex(({ dataset }) => isBelow(nodeOf(dataset.meter), node));
    roots.splice(place + 1, 0, rest.root);
  }
  if (roots.some((root, index) => list.children[index] !== root)
    || list.children.length !== roots.length) list.replaceChildren(...roots);
}

// Only cards on the screen are drawn at once, and only they have a chart of their last minutes.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    Object.assign(cards.get(target.dataset.meter), { seen: isIntersecting, fresh: true });
  }
  seedSeen();
  show();
}, { rootMargin: "100px" });

const show = paced(() => {
  const now = now_s();
  const ticked = now - tick_s > 0.9;
  if (ticked) tick_s = now;
  for (const card of cards.values()) {
    if (!(ticked || (card.seen && card.fresh))) continue;
    card.fresh = false;
    card.show(now);
    if (card.seen) card.paint(now);
  }
  const ids = ordered();
  arrange(ids, now);
  showHouse(new Map(ids.map((id) => [id, cards.get(id).meter])), now);
  showFlow((id) => powerOf(id, now));
  const hasNone = answered && !cards.size;
  document.getElementById("house").hidden = hasNone;
  document.getElementById("empty").hidden = !hasNone || !document.getElementById("notice").hidden;
  if (ticked) refreshHouse();
});

function showAll() {
  for (const card of cards.values()) card.fresh = true;
  show();
}

/** Fetch the house where the last answer is old, and draw its day. */
async function refreshHouse() {
  if (!await refreshSite()) return;
  showAll();
  showNotes();
  showDay().catch(() => {}); // drawn again in a while
}

async function refresh(whole) {
  try {
    for (const row of await getJson("/meters/")) cardOf(row.meter_id).meter.describe(row);
    notice("");
    if (whole) for (const card of cards.values()) card.seeded = false;
    seedSeen();
  } catch (error) {
    showError(error);
  }
  answered = true;
  showAll();
}

/** Fetch the last minutes of the cards on the screen, of all if few, in one request for each length. */
function seedSeen() {
  clearTimeout(seeding);
  seeding = setTimeout(() => {
    const due = [...cards.values()]
      .filter((card) => !card.seeded && (card.seen || cards.size <= FEW));
    for (const seconds of WINDOWS_S) {
      const alike = due.filter(({ meter }) => WINDOWS_S.find((each) => each >= meter.window_s) === seconds);
      if (alike.length) seed(alike.slice(0, MOST_TRACES), seconds).catch(showError);
    }
  }, TOGETHER_MS);
}

async function seed(some, seconds) {
  for (const card of some) card.seeded = true;
  const ids = some.map(({ meter }) => meter.id).join();
  const query = new URLSearchParams({ meters: ids, seconds, points: TRACE_POINTS });
  const traces = await getJson(`/traces/?${query}`);
  for (const card of some) {
    card.meter.trace.seed(traces[card.meter.id]);
    card.fresh = true;
  }
  show();
}

function showError(error) {
  notice(t("Stored readings are unavailable: {reason}", { reason: error.message }));
  setTimeout(refetch, 5000, true);
}

const refetch = connect({
  onReading(id, reading) {
    if (!cards.has(id)) refetch(false);
    const card = cardOf(id);
    if (card.meter.take(reading)) card.fresh = true;
    show();
  },
  onStatus(id, text) {
    const card = cards.get(id);
    if (!card) return true;
    card.fresh = true;
    show();
    return card.meter.takeStatus(text);
  },
  onChange: refresh,
  first: refresh(true),
});
refreshHouse();
setInterval(show, 1000);

document.getElementById("copy").addEventListener("click", ({ target }) => {
  getSelection().selectAllChildren(document.getElementById("command"));
  // navigator.clipboard exists only with TLS or on this machine.
  target.textContent = document.execCommand("copy") ? t("Copied") : t("Press Ctrl+C");
});
