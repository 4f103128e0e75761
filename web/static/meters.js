// The page of the meters: a row each; one that is opened shows what it is, how it is read and what is
// wrong with it, and lets an editor change its settings.

import { element, format, number, paced, setText } from "./catalogue.js";
import { t } from "./language.js";
import { BASE, connect, getJson, notice, now_s } from "./live.js";
import { events, identity, link, plan, rejected, wiring } from "./meter_facts.js";
import { ROLES, settingsForm, settingsList } from "./meter_form.js";
import { Meter, showState } from "./meter_state.js";

const AGAIN_S = 60;

const list = document.getElementById("meters");
const editable = "editable" in list.dataset;
const order = new Intl.Collator(undefined, { numeric: true });
const entries = new Map();

const opened = () => new URLSearchParams(location.search).get("meter");

/** A meter's row, and below it what the row shows when it is opened. */
class Entry {
  constructor(id) {
    this.meter = new Meter(id, []);
    this.row = {};
    this.fetched_s = -Infinity;
    this.name = element("span", { class: "name" });
    this.cells = Object.fromEntries(["id", "role", "model", "power"].map((name) =>
      [name, element("span", { class: name })]));
    this.body = element("div", { class: "body" });
    this.summary = element("summary", {},
      element("span", { class: "state" }, element("span", { class: "state-word" })),
      element("span", { class: "who" }, this.name, this.cells.id),
      this.cells.role, this.cells.model, element("time"), this.cells.power);
    this.root = element("details", { class: "panel meter", "data-meter": id }, this.summary, this.body);
    this.summary.addEventListener("click", (event) => {
      event.preventDefault();
      history.pushState(null, "", this.root.open ? location.pathname : this.address);
      showOpened();
    });
  }

  get address() {
    return `${location.pathname}?meter=${encodeURIComponent(this.meter.id)}`;
  }

  describe(row, depth) {
    this.row = row;
    this.meter.describe(row);
    this.root.style.setProperty("--depth", depth);
    setText(this.name, this.meter.name);
    setText(this.cells.id, row.name === row.meter_id ? "" : row.meter_id);
    setText(this.cells.role, ROLES[row.role] ?? "");
    setText(this.cells.model, row.model ?? "");
  }

  show(now) {
    showState(this.root, this.meter, now);
    const isOld = this.meter.isOld("power", now);
    setText(this.cells.power, format("power", this.meter.value("power"), 1000));
    this.cells.power.classList.toggle("old", isOld);
    if (this.root.open && now - this.fetched_s > AGAIN_S) this.load();
  }

  /** Fetch what the opened row shows; a form that a person has begun to fill in stays. */
  async load() {
    this.fetched_s = now_s();
    try {
      const found = await getJson(`/meters/${encodeURIComponent(this.meter.id)}/diagnostics`);
      this.fill(found);
    } catch (error) {
      notice(t("The details of {name} are unavailable: {why}",
        { name: this.meter.name, why: error.message }));
    }
  }

  fill(found) {
    const others = [...entries.values()].map(({ row }) => row)
      .filter(({ meter_id: id }) => id !== this.meter.id);
    const isBegun = this.body.querySelector("form")?.dataset.begun === "true";
    const settings = isBegun ? this.settings : editable
      ? settingsForm(found, this.row, others, () => this.saved())
      : settingsList(this.row, others);
    this.settings = settings;
    const columns = [
      [wiring(found), identity(found, this.row), link(found), plan(found)], [settings, events(found)],
    ].map((parts) => element("div", { class: "column" }, ...parts.filter(Boolean)));
    const id = encodeURIComponent(this.meter.id);
    const page = element("p", { class: "wide links" },
      element("a", { href: `${BASE}/meter/${id}` }, t("Live values and history")),
      ...(!editable ? [] : [element("a", { href: `${BASE}/view/statements?meter=${id}#utility` },
        t("Enter what the utility’s meter shows"))]));
    const isFocused = isBegun && this.body.contains(document.activeElement);
    if (isFocused) return;
    this.body.replaceChildren(page, ...columns, rejected(found));
  }

  async saved() {
    await refresh();
    await this.load();
  }
}

/** The meters in the order of the house, each after its parent, with their depth. */
function* tree(rows) {
  const ids = new Set(rows.map(({ meter_id: id }) => id));
  const sorted = rows.toSorted((a, b) => order.compare(a.meter_id, b.meter_id));
  const below = Map.groupBy(sorted, ({ parent }) => (ids.has(parent) ? parent : null));
  const visited = new Set();
  function* level(parent, depth) {
    for (const row of below.get(parent) ?? []) {
      if (visited.has(row.meter_id)) continue;
      visited.add(row.meter_id);
      yield [row, depth];
      yield* level(row.meter_id, depth + 1);
    }
  }
  yield* level(null, 0);
  yield* sorted.filter(({ meter_id: id }) => !visited.has(id)).map((row) => [row, 0]);
}

function showOpened() {
  for (const [id, entry] of entries) {
    const isOpened = id === opened();
    if (isOpened && !entry.root.open) entry.load();
    entry.root.open = isOpened;
  }
}

const show = paced(() => {
  const now = now_s();
  for (const entry of entries.values()) entry.show(now);
  const online = [...entries.values()].filter(({ meter }) => meter.state(now) === "online").length;
  setText(document.getElementById("summary"), entries.size
    ? t("{online} of {all} online", { online: number(online, 0), all: number(entries.size, 0) }) : "");
});

async function refresh() {
  try {
    const rows = [...tree(await getJson("/meters/"))];
    for (const [row, depth] of rows) {
      if (!entries.has(row.meter_id)) entries.set(row.meter_id, new Entry(row.meter_id));
      entries.get(row.meter_id).describe(row, depth);
    }
    const roots = rows.map(([row]) => entries.get(row.meter_id).root);
    const isSame = roots.length === list.children.length
      && roots.every((root, index) => root === list.children[index]);
    if (!isSame) list.replaceChildren(...roots);
    document.getElementById("empty").hidden = rows.length > 0;
    notice("");
    showOpened();
  } catch (error) {
    notice(t("The meters are unavailable: {why}", { why: error.message }));
  }
  show();
}

addEventListener("popstate", showOpened);
const refetch = connect({
  first: refresh(),
  onReading(id, reading) {
    if (entries.has(id)) entries.get(id).meter.take(reading);
    else refetch(false);
    show();
  },
  onStatus(id, text) {
    const isChange = entries.get(id)?.meter.takeStatus(text) ?? false;
    show();
    return isChange;
  },
  onChange: refresh,
});
setInterval(show, 1000);
