// The page of the readings: a page of them, newest first, as the filter in the address says.

import { ZONE, element, label, setText } from "./catalogue.js";
import { t } from "./language.js";
import { connect, getJson, notice, now_s, request } from "./live.js";
import { at_s } from "./trace.js";
import { showList } from "./reading_list.js";
import {
  PERIODS, addressWith, asked, csvAddress, offered, query, shown,
} from "./reading_query.js";
import { dayOf } from "./site_time.js";

const LENGTH = 100;

const box = (id) => document.getElementById(id);
const filter = box("filter");
const table = box("readings");
const order = new Intl.Collator(undefined, { numeric: true });
const moments = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "short", timeZone: ZONE,
});

let meters = [];
let voids = [];
let rows = [];
let next = null;

/** Readings that show what the chosen meters send: those of the page, and the latest ones. */
const samples = () => [...rows, ...meters
  .filter(({ meter_id: id }) => [id, null].includes(asked().get("meter")))
  .map(({ latest }) => latest ?? {})];
const nameOf = (id) => meters.find((meter) => meter.meter_id === id)?.name ?? id;
const voidOf = (reading) => voids.find((each) => each.meter_id === reading.meter_id
  && at_s(reading) >= Date.parse(each.from) / 1000 && at_s(reading) < Date.parse(each.to) / 1000);

// -- the filter ---------------------------------------------------------------------------------

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

const chosenText = () => t("{count} of {all} shown",
  { count: shown(samples()).length, all: offered(samples()).length });

function showChoice() {
  const all = offered(samples());
  const chosen = shown(samples());
  setText(box("chosen"), chosenText());
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
  setText(box("chosen"), chosenText());
  showResult();
});
filter.addEventListener("click", ({ target }) => {
  const period = PERIODS[target.dataset.period]?.(dayOf(now_s()));
  if (period) go({ from: period[0], to: period[1], cursor: null });
});
box("usual").addEventListener("click", () => {
  history.replaceState(history.state, "", addressWith({ show: null }));
  showChoice();
  showResult();
});

// -- the list ----------------------------------------------------------------------------------

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
  showList(table, rows, shown(samples()), voidOf, asked().get("meter") ? null : nameOf);
  const [newest, oldest] = [rows[0], rows.at(-1)];
  setText(box("summary"), rows.length ? t("{count} readings, {span}", {
    count: rows.length, span: moments.formatRange(at_s(oldest) * 1000, at_s(newest) * 1000),
  }) : "");
  const isKnown = box("notice").hidden;
  setText(box("nothing"), rows.length ? voidText() : isKnown ? emptyText() : "");
  box("nothing").hidden = !box("nothing").textContent;
  box("download").href = csvAddress(shown(samples()));
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
  const wanted = query([]);
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
  if (!box("choice").contains(document.activeElement)) showChoice();
  showResult();
}

function showPage() {
  showFilter();
  return load();
}

/** Show what is new; what a person is about to choose stays. */
async function refresh() {
  const [known, marked] = await Promise.allSettled([getJson("/meters/"), getJson("/voids/")]);
  if (known.status === "fulfilled") meters = known.value;
  // Of two that overlap, one that counts comes before one that was undone.
  if (marked.status === "fulfilled") voids = marked.value.toSorted((a, b) => !b.undone - !a.undone);
  await (filter.contains(document.activeElement) ? load() : showPage());
}

addEventListener("popstate", showPage);
connect({ first: refresh(), onChange: refresh });
