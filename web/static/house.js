// The house: its power now, today's energy and cost, and a dot for each of its meters.

import {
  MISSING, PHASES, age, clock, element, format, moneyParts, percent, setText, split, unit,
} from "./catalogue.js";
import { t } from "./language.js";
import { BASE, link } from "./live.js";
import { STATES, showDirection } from "./meter_state.js";
import { PhaseBar } from "./phases.js";
import { allNodes, outermost, siteNow } from "./site.js";

const LEAST_KWH = 0.05;
const ENERGY = "energy_import";
const KILO_FROM = 1000;

const box = (id) => document.getElementById(`house-${id}`);
const bar = new PhaseBar(box("phases"), box("phase"));

/** The meters whose powers add up to the power that the page shows; null where they do not. */
function summands(site) {
  const isGrid = site.measured_by === "grid";
  const others = ["production", "storage"];
  if (!isGrid && allNodes().some(({ role }) => others.includes(role))) return null;
  return outermost(site.measured_by).map(({ meter_id: id }) => id);
}

/** The same before GET /site/ has answered, or while there is no history. */
function likelySummands(meters) {
  const grid = [...meters.values()].filter(({ role }) => role === "grid");
  const others = [...meters.values()].filter(({ role, parent }) => !role && !parent);
  if (!grid.length) return others.length === 1 ? others : [];
  return grid.filter(({ parent }) => meters.get(parent)?.role !== "grid");
}

/** The sum of the last values of meters; null where one has none. */
function sum(meters, quantity) {
  const values = meters.map((meter) => meter?.value(quantity) ?? null);
  return values.length && !values.includes(null) ? values.reduce((a, b) => a + b) : null;
}

/** Since when the power is not live, as a text; empty while it is. */
function lastKnown(meters, now) {
  const silent = meters.filter((meter) => meter && meter.state(now) !== "online");
  if (!silent.length) return "";
  return t("last known, {age}", { age: age(Math.max(...silent.map((meter) => meter.age_s(now) ?? 0))) });
}

function showPower(site, live, now) {
  const meters = !site ? likelySummands(live)
    : (site.measured_by && summands(site)?.map((id) => live.get(id))) || [];
  const power = meters.length ? sum(meters, "power")
    : link.away ? null : site?.power.grid ?? site?.power.consumption ?? null;
  const { text, unit: shown } = split("power", power, KILO_FROM);
  const old = lastKnown(meters, now);
  setText(box("title"), site && site.measured_by !== "grid" ? t("All meters now") : t("House now"));
  setText(box("power"), text);
  setText(box("unit"), shown);
  box("power").parentElement.classList.toggle("old", Boolean(old));
  showDirection(box("direction"), old ? null : power);
  setText(box("age"), power === null ? "" : old);
  bar.show(PHASES.map((phase) => [phase, sum(meters, `power_${phase}`)]),
    (value) => format("power", value, KILO_FROM), (values) => t("most on {phase}: {power}", values));
  return old ? "" : format("power", power, KILO_FROM);
}

/** "12 % less than yesterday by 08:45"; empty where one of both is not known. */
function comparison({ now, before_so_far: before }, at_s) {
  if (now.consumption === null || now.consumption < 0) return "";
  if (before.consumption === null || before.consumption < LEAST_KWH) return "";
  const change = now.consumption / before.consumption - 1;
  const values = { time: clock(at_s), percent: percent(Math.abs(change)) };
  if (values.percent === percent(0)) return t("As much as yesterday by {time}", values);
  return change < 0 ? t("{percent} less than yesterday by {time}", values)
    : t("{percent} more than yesterday by {time}", values);
}

function showMoney(target, parts) {
  if (target.textContent === parts.map(({ value }) => value).join("")) return;
  target.replaceChildren(...parts.map(({ type, value }) =>
    element("span", { class: type === "currency" ? type : null }, value)));
}

function showToday(site) {
  const today = site?.today;
  const { text, unit: shown } = split(ENERGY, today?.now.consumption ?? null);
  setText(box("energy"), text);
  setText(box("energy-unit"), text === MISSING ? unit(ENERGY) : shown);
  box("cost-part").hidden = !site?.currency;
  if (site?.currency) {
    const cost = today?.now.cost ?? null;
    showMoney(box("cost"), cost === null ? [{ value: MISSING }] : moneyParts(cost, site.currency));
  }
  setText(box("comparison"), today ? comparison(today, Date.parse(site.ts) / 1000) : "");
}

const names = (meters) => meters.map((meter) => meter.name).join(", ");

/** What is wrong with meters and what to do, of those that are to blame themselves. */
function troubles(meters, now) {
  const inState = (state) =>
    meters.filter((meter) => meter.state(now) === state && !meter.isBridgeAway);
  const found = [];
  const [offline, silent] = ["offline", "stale"].map(inState);
  if (offline.length) {
    found.push(t("{names}: offline. Check supply and wiring; “meterflow doctor” finds the fault.",
      { names: names(offline) }));
  }
  if (silent.length) {
    found.push(t("{names}: silent. Check power and network of the device.", { names: names(silent) }));
  }
  return found.join(" ");
}

/** Show a dot for each meter; return the number of those that are not online. */
function showMeters(meters, now) {
  const list = box("dots");
  if (list.children.length !== meters.length
    || meters.some((meter, index) => list.children[index].dataset.meter !== meter.id)) {
    list.replaceChildren(...meters.map((meter) => element("li", { "data-dot": "", "data-meter": meter.id },
      element("a", { href: `${BASE}/meter/${encodeURIComponent(meter.id)}${location.search}` }))));
  }
  meters.forEach((meter, index) => {
    const [dot, state] = [list.children[index], meter.state(now)];
    const text = `${meter.name}: ${STATES[state]}`;
    dot.dataset.state = state;
    if (dot.firstChild.title === text) return;
    dot.firstChild.title = text;
    dot.firstChild.setAttribute("aria-label", text);
  });
  const [of, count] = [meters.length, meters.filter((meter) => meter.state(now) === "online").length];
  setText(document.getElementById("summary"), !of ? t("No meter yet") : link.away ? t("Not live")
    : count < of ? t("{count} of {of} meters online", { count, of })
      : of === 1 ? t("The meter is online") : t("All {of} meters online", { of }));
  const trouble = document.getElementById("trouble");
  setText(trouble, troubles(meters, now));
  trouble.hidden = !trouble.textContent;
  return of - count;
}

/** Show the house; `meters` are all live meters by id, in the page's order. */
export function showHouse(meters, now) {
  const site = siteNow();
  const power = showPower(site, meters, now);
  showToday(site);
  const missing = showMeters([...meters.values()], now);
  const state = link.away ? t("No connection")
    : missing ? t("{count} not online", { count: missing }) : power;
  document.title = [state, "Meterflow"].filter((text) => text && text !== MISSING).join(" · ");
}
