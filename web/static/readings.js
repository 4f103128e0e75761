// The page of the readings: a page of them, newest first, as the filter in the address says.

import {
  ZONE, element, formatPlain, isKnown, label, names, setText, shortLabel, unit,
} from "./catalogue.js";
import { t } from "./language.js";
import { BASE, connect, getJson, notice, now_s, request } from "./live.js";
import { at_s } from "./meter_state.js";
import { dayOf, daysAfter, epoch, iso } from "./site_time.js";

const LENGTH = 100;
const MOST = 10_000;
const USUAL = ["voltage", "current", "power", "energy"];
const PART = /_(l\d|import|export)$/;

const box = (id) => document.getElementById(id);
const filter = box("filter");
const table = box("readings");
const order = new Intl.Collator(undefined, { numeric: true });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeZone: ZONE });
const times = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", timeZone: ZONE });
const moments = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "short", timeZone: ZONE,
});

let meters = [];
let voids = [];
let rows = [];
let next = null;

/** What the address asks for. */
const asked = () => new URLSearchParams(location.search);
const chosenMeters = () => meters.filter(({ meter_id: id }) => [id, null].includes(asked().get("meter")));
const nameOf = (id) => meters.find((meter) => meter.meter_id === id)?.name ?? id;

/** The family of a quantity by which the table's columns are grouped. */
function headOf(name) {
  const base = name.replace(PART, "");
  return isKnown(base) ? base : name;
}

/** The quantities that the chosen meters send, in the catalogue's order. */
function offered() {
  const sent = new Set(chosenMeters().flatMap(({ latest }) => Object.keys(latest ?? {})));
  return names.filter((name) => sent.has(name) || asked().get("show")?.split(",").includes(name));
}

/** The quantities to show: those in the address, else the usual ones. */
function shown() {
  const listed = asked().get("show");
  if (listed !== null) return names.filter((name) => listed.split(",").includes(name));
  const all = offered();
  const usual = all.filter((name) => USUAL.includes(headOf(name))
    && !(name === "energy" && all.includes("energy_import")));
  return usual.length ? usual : all;
}

/** The query of REST for the readings of the filter; empty quantities mean all of them. */
function query(fields) {
  const { meter, from, to } = Object.fromEntries(asked());
  const found = new URLSearchParams();
  if (meter) found.set("meter", meter);
  for (const [name, text] of Object.entries({ from, to })) {
    if (Number.isFinite(epoch(text ?? ""))) found.set(name, iso(epoch(text)));
  }
  if (fields.length) found.set("fields", fields.join(","));
  return found;
}

/** All readings of the filter as a file; without a period there are only the newest ones. */
function csvAddress() {
  const wanted = query(shown());
  if (!wanted.has("from") && !wanted.has("to")) wanted.set("limit", MOST);
  else if (!wanted.has("from")) wanted.set("from", iso(0));
  else if (!wanted.has("to")) wanted.set("to", iso(Math.ceil(now_s())));
  wanted.set("format", "csv");
  return `${BASE}/readings/?${wanted}`;
}

const voidOf = (reading) => voids.find((each) => each.meter_id === reading.meter_id
  && at_s(reading) >= Date.parse(each.from) / 1000 && at_s(reading) < Date.parse(each.to) / 1000);

/** The address of this page with some parameters changed; null takes one away. */
function addressWith(changes) {
  const found = asked();
  for (const [name, value] of Object.entries(changes)) {
    if (value) found.set(name, value);
    else found.delete(name);
  }
  return `${location.pathname}${found.size ? "?" : ""}${found}`;
}

// -- the filter ---------------------------------------------------------------------------------

const PERIODS = {
  newest: () => [null, null],
  today: (today) => [`${today}T00:00`, null],
  yesterday: (today) => [`${daysAfter(today, -1)}T00:00`, `${today}T00:00`],
  week: (today) => [`${daysAfter(today, -6)}T00:00`, null],
};

function showFilter() {
  const { meter: select } = filter.elements;
  const wanted = asked().get("meter") ?? "";
  const ids = meters.map(({ meter_id: id }) => id);
  if (wanted && !ids.includes(wanted)) ids.push(wanted);
  select.replaceChildren(
    element("option", { value: "" }, t("All meters")),
    ...ids.toSorted(order.compare).map((id) => element(
      "option", { value: id }, nameOf(id) === id ? id : `${nameOf(id)} (${id})`)),
  );
  select.value = wanted;
  for (const name of ["from", "to"]) {
    const text = asked().get(name) ?? "";
    filter.elements[name].value = text.length === 10 ? `${text}T00:00` : text;
  }
  const now = [asked().get("from"), asked().get("to")];
  for (const button of filter.querySelectorAll("[data-period]")) {
    const period = PERIODS[button.dataset.period](dayOf(now_s()));
    button.setAttribute("aria-pressed", String(period.every((end, index) => end === now[index])));
  }
}

function showChoice() {
  const all = offered();
  const chosen = shown();
  setText(box("chosen"), t("{count} of {all} shown", { count: chosen.length, all: all.length }));
  box("choice").hidden = !all.length;
  box("quantities").replaceChildren(...all.map((name) => {
    const check = element("input", { type: "checkbox", value: name });
    check.checked = chosen.includes(name);
    return element("label", {}, check, label(name));
  }));
}

/** Go on to another filter or part of the list: `changes` of the address. */
function go(changes) {
  const depth = changes.cursor ? (history.state?.depth ?? 0) + 1 : 0;
  history.pushState({ depth }, "", addressWith(changes));
  showPage();
}

filter.addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("change", ({ target }) => {
  if (target.type !== "checkbox") {
    go({ [target.name]: target.value, cursor: null });
    return;
  }
  const checked = [...box("quantities").querySelectorAll(":checked")].map(({ value }) => value);
  if (!checked.length) target.checked = true; // a table without any would say nothing
  else history.replaceState(history.state, "", addressWith({ show: checked.join() }));
  load();
});
filter.addEventListener("click", ({ target }) => {
  const period = PERIODS[target.dataset.period]?.(dayOf(now_s()));
  if (period) go({ from: period[0], to: period[1], cursor: null });
});
box("usual").addEventListener("click", () => {
  history.replaceState(history.state, "", addressWith({ show: null }));
  showChoice();
  load();
});

// -- the table ----------------------------------------------------------------------------------

/** Groups of columns by family; those with several members have a second row of heads. */
function groups(columns) {
  return [...Map.groupBy(columns, headOf)].map(([head, members]) => ({
    head, members, heads: members.length > 1 ? members.map((name) => shortLabel(name, head)) : [],
  }));
}

function head(grouped, withMeter) {
  const two = { scope: "col", rowspan: 2 };
  return element("thead", {},
    element("tr", {},
      element("th", two, t("Time")),
      ...(withMeter ? [element("th", { ...two, class: "meter" }, t("Meter"))] : []),
      ...grouped.map(({ head: name, members }) => element(
        "th", members.length > 1 ? { scope: "colgroup", colspan: members.length } : two,
        label(members.length > 1 ? name : members[0]), element("span", { class: "unit" }, unit(name))))),
    element("tr", {}, ...grouped.flatMap(({ heads }) => heads.map((text, index) =>
      element("th", { scope: "col", class: index ? null : "first" }, text)))));
}

/** "void" where no sum counts the reading, "counts again" where a person has undone that. */
function mark(found) {
  if (!found) return [];
  const text = found.undone ? t("counts again") : t("void");
  return [element("span", { class: "mark", title: found.why }, text)];
}

function row(reading, grouped, withMeter) {
  const found = voidOf(reading);
  return element("tr", { class: found && !found.undone ? "void" : null },
    element("th", { scope: "row" }, times.format(at_s(reading) * 1000), ...mark(found)),
    ...(withMeter ? [element("td", { class: "meter" }, nameOf(reading.meter_id))] : []),
    ...grouped.flatMap(({ members }) => members.map((name, index) => element(
      "td", { class: index ? null : "first" }, formatPlain(name, reading[name])))));
}

function showTable() {
  const columns = shown();
  const grouped = groups(columns);
  const withMeter = !asked().get("meter");
  const width = 1 + withMeter + columns.length;
  const byDay = Map.groupBy(rows, (reading) => dayOf(at_s(reading)));
  table.replaceChildren(...(rows.length ? [head(grouped, withMeter)] : []),
    ...[...byDay.values()].map((some) => element("tbody", {},
      element("tr", { class: "day" }, element(
        "th", { scope: "rowgroup", colspan: width }, days.format(at_s(some[0]) * 1000))),
      ...some.map((reading) => row(reading, grouped, withMeter)))));
}

/** What stands in place of a table without rows: why, and what to do. */
function emptyText() {
  if (!meters.length) return t("No reading is stored yet. The overview says how to send a first one.");
  if (asked().get("from") || asked().get("to")) return t("There are no readings in this period.");
  return t("This meter has no stored readings.");
}

function voidText() {
  const found = [...new Set(rows.map(voidOf).filter((each) => each && !each.undone))];
  const span = (each) => moments.formatRange(Date.parse(each.from), Date.parse(each.to));
  return found.map((each) => t("{name}: void from {span}, no sum counts these readings: {why}",
    { name: nameOf(each.meter_id), span: span(each), why: each.why })).join(" ");
}

function showResult() {
  table.setAttribute("aria-busy", "false");
  showTable();
  const [newest, oldest] = [rows[0], rows.at(-1)];
  setText(box("summary"), rows.length ? t("{count} readings, {span}", {
    count: rows.length, span: moments.formatRange(at_s(oldest) * 1000, at_s(newest) * 1000),
  }) : "");
  setText(box("nothing"), rows.length ? voidText() : emptyText());
  box("nothing").hidden = !box("nothing").textContent;
  box("download").href = csvAddress();
  box("download").hidden = !rows.length;
  const depth = history.state?.depth ?? 0;
  link("newest", asked().get("cursor") ? { cursor: null } : null);
  link("newer", depth ? {} : null);
  link("older", next ? { cursor: next } : null);
  box("pager").hidden = !rows.length || (!next && !asked().get("cursor"));
}

/** Lead a link of the pager to another part of the list; without changes it leads nowhere. */
function link(id, changes) {
  const target = box(id);
  target.ariaDisabled = changes ? null : "true";
  if (changes) target.href = addressWith(changes);
  else target.removeAttribute("href");
}

box("pager").addEventListener("click", (event) => {
  const { id, href } = event.target;
  if (!href || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (id === "newer") history.back();
  else go({ cursor: id === "older" ? next : null });
  document.getElementById("page-title").scrollIntoView({ block: "nearest" });
});

// -- the server ---------------------------------------------------------------------------------

let latest = 0;

/** Fetch the readings of the address; a later call makes an earlier one void. */
async function load() {
  const own = (latest += 1);
  table.setAttribute("aria-busy", "true");
  const wanted = query(shown());
  wanted.set("limit", LENGTH);
  if (asked().get("cursor")) wanted.set("cursor", asked().get("cursor"));
  try {
    const response = await request(`/readings/?${wanted}`);
    const found = await response.json();
    if (own !== latest) return;
    rows = found;
    next = /[?&]cursor=([^&>]+)[^,]*rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? null;
    notice("");
  } catch (error) {
    if (own !== latest) return;
    [rows, next] = [[], null];
    notice(t("The readings are unavailable: {why}", { why: error.message }));
  }
  showResult();
}

function showPage() {
  showFilter();
  showChoice();
  return load();
}

/** Show what is new; what a person is about to choose stays. */

async function refresh() {
  const [known, marked] = await Promise.allSettled([getJson("/meters/"), getJson("/voids/")]);
  if (known.status === "fulfilled") meters = known.value;
  if (marked.status === "fulfilled") voids = marked.value;
  await (filter.contains(document.activeElement) ? load() : showPage());
}

addEventListener("popstate", showPage);
connect({ first: refresh(), onChange: refresh });
