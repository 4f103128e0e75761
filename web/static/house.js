// The house: its power now, today's energy and cost, and today's of each meter, from GET /site/; and
// what stands in its place while there is none.

import {
  MISSING, PHASES, clock, element, format, money, moneyParts, setText, split, unit,
} from "./catalogue.js";
import { lineChart } from "./chart.js";
import { getJson, now_s } from "./live.js";

const EVERY_S = 30;
const DAY_S = 86_400;
const DAY_EVERY_S = 300;
const LEAST_KWH = 0.05;
const ENERGY = "energy_import";
const POWER = { import: "importing", export: "exporting", none: "" };

const box = (id) => document.getElementById(`house-${id}`);

let site = null;
let fetched_s = -Infinity;
const day = { drawn_s: -Infinity, chart: null };

function* flatten(nodes, above = []) {
  for (const node of nodes) {
    yield { node, above };
    yield* flatten(node.children, [...above, node.role]);
  }
}

/** Today's energy and cost of a meter as one text; empty where they are not known. */
export function todayOf(meterId) {
  if (!site) return "";
  const found = [...flatten(site.meters)].find(({ node }) => node.meter_id === meterId)?.node;
  if (!found?.today) return "";
  const { imported, exported, cost } = found.today;
  const flows = found.role === "production" ? [exported || imported] : [imported];
  if (exported > 0 && imported > 0) flows.push(-exported);
  if (exported > 0 && !imported && found.role !== "production") flows[0] = -exported;
  const texts = flows.filter((kwh) => kwh !== null).map((kwh) => format(ENERGY, kwh));
  if (cost !== null && site.currency) texts.push(money(cost, site.currency));
  return texts.join(" · ");
}

/** The meters whose powers add up to the power that the page shows; null where they do not. */
function summands() {
  const all = [...flatten(site.meters)];
  const isGrid = site.measured_by === "grid";
  if (!isGrid && all.some(({ node }) => ["production", "storage"].includes(node.role))) return null;
  return all.filter(({ node, above }) => node.role === site.measured_by
    && !(isGrid ? above : above.slice(-1)).includes(node.role)).map(({ node }) => node.meter_id);
}

/** The sum of a quantity of meters that are online; null where one is missing. */
function sum(meters, quantity, now) {
  const values = meters.map((meter) =>
    (meter?.state(now) === "online" ? meter.value(quantity) ?? null : null));
  return values.length && !values.includes(null) ? values.reduce((a, b) => a + b) : null;
}

function showPower(meterOf, now) {
  const ids = site?.measured_by ? summands() : null;
  const meters = ids?.map(meterOf) ?? [];
  const power = ids ? sum(meters, "power", now) : site?.power.grid ?? site?.power.consumption;
  const { text, unit: shown } = split("power", power, 1000);
  setText(box("title"), site && site.measured_by !== "grid" ? "All meters now" : "House now");
  setText(box("power"), text);
  setText(box("unit"), shown);
  const direction = !power ? "none" : power > 0 ? "import" : "export";
  box("direction").dataset.direction = direction;
  setText(box("direction"), POWER[direction]);
  const phases = PHASES.map((phase) => [phase, sum(meters, `power_${phase}`, now)]);
  const [phase, most] = phases.reduce((a, b) => (Math.abs(b[1]) > Math.abs(a[1]) ? b : a));
  setText(box("phase"), most ? `most on ${phase.toUpperCase()}: ${format("power", most, 1000)}` : "");
}

/** "12 % less than yesterday by 08:45"; empty where one of both is not known. */
function comparison({ now, before_so_far: before }, at_s) {
  if (now.consumption === null || now.consumption < 0) return "";
  if (before.consumption === null || before.consumption < LEAST_KWH) return "";
  const percent = Math.round(100 * (now.consumption / before.consumption - 1));
  const than = `yesterday by ${clock(at_s)}`;
  if (percent === 0) return `As much as ${than}`;
  return `${Math.abs(percent)}\u202f% ${percent < 0 ? "less" : "more"} than ${than}`;
}

function showMoney(target, parts) {
  if (target.textContent === parts.map(({ value }) => value).join("")) return;
  target.replaceChildren(...parts.map(({ type, value }) =>
    element("span", { class: type === "currency" ? type : null }, value)));
}

function showToday() {
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

/** Show the house; `meterOf` returns the live meter of an id. */
export function showHouse(meterOf, now) {
  showPower(meterOf, now);
  showToday();
}

/** Draw the last 24 hours of the power that the house shows as its own. */
async function showDay(now) {
  if (!site?.measured_by || now - day.drawn_s < DAY_EVERY_S) return;
  day.drawn_s = now;
  const iso = (at_s) => new Date(at_s * 1000).toISOString();
  const query = new URLSearchParams({ from: iso(now - DAY_S), to: iso(now), points: 480 });
  const columns = await getJson(`/site/series?${query}`);
  const powers = columns[site.measured_by === "grid" ? "grid" : "consumption"];
  const known = powers.filter((power) => power !== null);
  document.getElementById("day").hidden = !known.length;
  if (!known.length) return;
  const chart = document.getElementById("day-chart");
  day.chart ??= lineChart(chart, document.getElementById("day-legend"), "power", ["power"]);
  day.chart.update([columns.ts, powers], now - DAY_S, now);
  const ends = [Math.min(...known), Math.max(...known)].map((power) => format("power", power, 1000));
  chart.setAttribute("aria-label", `Last 24 hours: ${[...new Set(ends)].join(" to ")}`);
  chart.removeAttribute("aria-labelledby");
}

/** Fetch the house where the last answer is old; return whether there is a new answer. */
export async function refreshHouse() {
  const now = now_s();
  if (document.hidden || now - fetched_s < EVERY_S) return false;
  fetched_s = now;
  try {
    site = await getJson("/site/");
    showDay(now).catch(() => {}); // drawn again in a while
  } catch {
    site = null; // the page's own refresh shows the error
  }
  return true;
}

/** Fetch the house soon: a meter is new. */
export function houseChanged() {
  fetched_s = Math.min(fetched_s, now_s() - EVERY_S + 2);
}

document.getElementById("copy").addEventListener("click", ({ target }) => {
  getSelection().selectAllChildren(document.getElementById("command"));
  // navigator.clipboard exists only with TLS or on this machine.
  setText(target, document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
});
