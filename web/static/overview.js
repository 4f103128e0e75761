// The overview: a card for each meter.

import {
  MISSING, PHASES, PHASE_ROWS, descriptions, element, format, label, paced, phaseTable, setText, showValues,
} from "./catalogue.js";
import { spark } from "./chart.js";
import { houseChanged, refreshHouse, showHouse, todayOf } from "./house.js";
import { BASE, connect, getJson, notice, now_s, series } from "./live.js";
import { Meter, about, showDirection, showState } from "./meter_state.js";

const TOTALS = ["voltage", "current", "frequency"];
const COUNTERS = ["energy_import", "energy_export"];

const cards = new Map();
const list = document.getElementById("cards");
const order = new Intl.Collator(undefined, { numeric: true });

class Card {
  constructor(id) {
    this.meter = new Meter(id, ["power"]);
    this.link = element("a", { href: `${BASE}/meter/${encodeURIComponent(id)}` });
    this.about = element("p", { class: "about" });
    this.direction = element("span", { class: "direction" });
    this.chart = element("div", { class: "spark", role: "img" });
    this.extent = element("span");
    this.today = element("b");
    this.span = element("span");
    this.facts = element("div", { class: "facts" });
    this.root = element("li", { class: "card", "data-meter": id }, ...this.parts());
    this.draw = null;
    this.built = "";
    Object.assign(this, { seen: false, seeded: false, fresh: true });
  }

  parts() {
    const state = element("span", { class: "state" }, element("span", { class: "state-word" }));
    const power = element("p", { class: "power" },
      element("span", { "data-quantity": "power" }), element("span", { class: "unit" }),
      this.direction);
    return [
      element("header", {}, element("h2", {}, this.link), state, this.about, element("time")),
      power, element("p", { class: "today" }, "Today", this.today), this.chart,
      element("p", { class: "caption" }, this.span, this.extent), this.facts,
    ];
  }

  /** Build the tables again where the meter has sent a quantity for the first time. */
  build() {
    const meter = this.meter;
    const phases = PHASES.filter((p) => PHASE_ROWS.some((q) => meter.has(`${q}_${p}`)));
    const totals = phases.length ? [] : TOTALS.filter((q) => meter.has(q));
    const counters = COUNTERS.filter((q) => meter.has(q));
    if (!counters.length && meter.has("energy")) counters.push("energy");
    const built = JSON.stringify([phases, totals, counters, [...meter.values.keys()].length]);
    if (built === this.built) return;
    this.built = built;
    this.facts.replaceChildren(
      ...(phases.length ? [phaseTable(meter, phases)] : []),
      ...[totals, counters].filter((rows) => rows.length)
        .map((rows) => element("dl", {}, ...descriptions(rows))),
    );
  }

  show(now) {
    const { meter } = this;
    this.build();
    setText(this.link, meter.name);
    setText(this.about, about(meter));
    setText(this.today, todayOf(meter.id) || MISSING);
    showState(this.root, meter, now);
    showValues(this.root, meter, now);
    showDirection(this.direction, meter, now);
  }

  paint(now) {
    const { meter } = this;
    this.draw ??= spark(this.chart);
    const minutes = meter.minutes(now), from = now - 60 * minutes;
    const columns = meter.trace.columns(from, meter.gap_s);
    this.draw(columns, from, now);
    const powers = columns[1].filter((value) => typeof value === "number");
    const span = `last ${minutes} min`;
    const ends = [Math.min(...powers), Math.max(...powers)].map((each) => format("power", each));
    const extent = powers.length ? [...new Set(ends)].join(" to ") : "no reading";
    setText(this.span, span);
    setText(this.extent, extent);
    this.chart.setAttribute("aria-label", `${label("power")}, ${span}: ${extent}`);
  }
}

function cardOf(id) {
  let card = cards.get(id);
  if (!card) {
    card = new Card(id);
    cards.set(id, card);
    const after = [...list.children].find((each) => order.compare(each.dataset.meter, id) > 0);
    list.insertBefore(card.root, after ?? null);
    watcher.observe(card.root);
    houseChanged();
  }
  return card;
}

function summary(now) {
  document.getElementById("house").hidden = answered && !cards.size;
  document.getElementById("empty").hidden = cards.size > 0 || !answered
    || !document.getElementById("notice").hidden;
  const states = [...cards.values()].map(({ meter }) => meter.state(now));
  const online = states.filter((state) => state === "online").length;
  setText(document.getElementById("summary"),
    cards.size ? `${online} of ${cards.size} online` : "No meter yet");
}

// Only cards on the screen are drawn at once, and only they have a chart of their last minutes.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    Object.assign(cards.get(target.dataset.meter), { seen: isIntersecting, fresh: true });
  }
  seedSeen();
  show();
}, { rootMargin: "100px" });

let tick_s = 0;
let answered = false;

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
  showHouse((id) => cards.get(id)?.meter, now);
  summary(now);
  if (ticked) refreshHouse().then((isNew) => isNew && showAll());
});

function showAll() {
  for (const card of cards.values()) card.fresh = true;
  show();
}

async function refresh(whole) {
  try {
    for (const row of await getJson("/meters/")) {
      cardOf(row.meter_id).meter.describe(row);
      cardOf(row.meter_id).show(now_s());
    }
    notice("");
    if (whole) for (const card of cards.values()) card.seeded = false;
    seedSeen();
  } catch (error) {
    showError(error);
  }
  answered = true;
  show();
}

function seedSeen() {
  for (const card of cards.values()) {
    if (card.seen && !card.seeded) seed(card).catch(showError);
  }
}

async function seed(card) {
  const { meter } = card;
  const to = now_s();
  card.seeded = true;
  meter.trace.seed(await series(meter.id, ["power"], to - meter.window_s, to + 1, 300));
  card.fresh = true;
  show();
}

function showError(error) {
  notice(`Stored readings are unavailable: ${error.message}`);
  setTimeout(refetch, 5000, true);
}

const refetch = connect({
  onReading(id, reading) {
    if (!cards.has(id)) refetch(false);
    const card = cardOf(id);
    if (card.meter.take(reading)) card.fresh = true;
    if (!card.built) card.show(now_s());
    show();
  },
  onStatus(id, text) {
    const card = cards.get(id);
    if (!card) return false;
    card.fresh = true;
    show();
    return card.meter.takeStatus(text);
  },
  onChange: refresh,
  first: refresh(true),
});
setInterval(show, 1000);
