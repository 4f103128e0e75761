// The page of the statements: those of a period in a list, and one or all of them to read and print.

import { element, format, money, setText } from "./catalogue.js";
import { t } from "./language.js";
import { BASE, connect, getJson, notice, now_s } from "./live.js";
import { dayOf, daysAfter, epoch, iso, monthAfter } from "./site_time.js";
import { UNKNOWN, days, housePaper, paper, soFar } from "./statement_paper.js";
import { leadToUtility, refreshUtility, showUtility } from "./utility_panel.js";

const ENERGY = "energy_import";
const ALL = "all";
const HOUSE = "house";

const box = (id) => document.getElementById(id);
const form = box("filter");
const asked = () => new URLSearchParams(location.search);

const PERIODS = {
  month: (today) => [monthAfter(today, 0), daysAfter(monthAfter(today, 1), -1)],
  "last-month": (today) => [monthAfter(today, -1), daysAfter(monthAfter(today, 0), -1)],
  "before-last": (today) => [monthAfter(today, -2), daysAfter(monthAfter(today, -1), -1)],
  "last-year": (today) => [`${today.slice(0, 4) - 1}-01-01`, `${today.slice(0, 4) - 1}-12-31`],
};

let tariffs = [];
let latest = 0;

/** The first and the last day that the address asks for: those of the last month without any. */
function period() {
  const [from, to] = PERIODS["last-month"](dayOf(now_s()));
  return [asked().get("from") ?? from, asked().get("to") ?? to];
}

function restQuery(more = {}) {
  const [from, to] = period();
  const tariff = asked().get("tariff");
  return new URLSearchParams({
    from: iso(epoch(from)), to: iso(epoch(daysAfter(to, 1))), so_far: true, ...(tariff ? { tariff } : {}), ...more,
  });
}

/** The address of REST for what is shown: one meter, the house, or all. */
function restAddress(what, more = {}) {
  if (what === HOUSE) return `/statements/?${restQuery({ site: true, ...more })}`;
  if (!what || what === ALL) return `/statements/?${restQuery(more)}`;
  return `/statements/${encodeURIComponent(what)}?${restQuery(more)}`;
}

function addressOf(show) {
  const next = asked();
  if (show) next.set("show", show);
  else next.delete("show");
  return `${location.pathname}${next.size ? "?" : ""}${next}`;
}

function showFilter() {
  const [from, to] = period();
  const today = dayOf(now_s());
  const { elements } = form;
  [elements.from.value, elements.to.value] = [from, to];
  elements.from.max = today;
  elements.to.max = `${today.slice(0, 4)}-12-31`;
  elements.tariff.replaceChildren(elements.tariff.options[0],
    ...tariffs.map(({ name }) => element("option", { value: name }, name)));
  elements.tariff.value = asked().get("tariff") ?? "";
  box("tariff-field").hidden = tariffs.length < 2;
  for (const button of form.querySelectorAll("[data-period]")) {
    const [first, last] = PERIODS[button.dataset.period](today);
    button.setAttribute("aria-pressed", String(first === from && last === to));
  }
}

const total = ({ total: amount, currency, tariff }) =>
  (!tariff ? "" : amount === null ? UNKNOWN : money(amount, currency));
const energy = (kwh) => (kwh === null ? UNKNOWN : format(ENERGY, kwh));

function listRow(show, name, about, drawn, cost, serial) {
  const link = element("a", { href: addressOf(show), "data-show": show }, name);
  const note = about && about !== name ? [" ", element("span", { class: "about" }, about)] : [];
  return element("tr", {}, element("th", { scope: "row" }, link, ...note),
    element("td", { class: "serial" }, serial ?? ""), element("td", { class: "number" }, drawn),
    element("td", { class: "number" }, cost));
}

function showList({ statements }, house) {
  setText(box("list-title"), days(...period()));
  setText(box("so-far"), soFar(statements[0]));
  const rows = statements.map((each) => listRow(
    each.meter_id, each.name, each.meter_id, energy(each.imported), total(each), each.serial));
  if (house) {
    const sum = house.statements.reduce((all, { total: amount }) =>
      (all === null || amount === null ? null : all + amount), 0);
    const { currency, tariff } = house.statements[0] ?? {};
    rows.unshift(listRow(HOUSE, t("The house"), "", energy(house.house.figures.consumption),
      total({ total: sum, currency, tariff })));
  }
  const hasCosts = statements.some(({ tariff }) => tariff);
  const heads = [[t("Meter")], [t("Serial number"), "serial"], [t("Drawn"), "number"],
    [hasCosts ? t("Total") : "", "number"]];
  box("rows").replaceChildren(element("table", { class: "plain" },
    element("thead", {}, element("tr", {}, ...heads.map(([text, kind]) =>
      element(text ? "th" : "td", { class: kind, scope: text ? "col" : null }, text)))),
    element("tbody", {}, ...rows)));
  box("all").href = addressOf(ALL);
  box("no-tariff").hidden = tariffs.length > 0;
  document.title = `${t("Statements")} · Meterflow`;
}

function showOne(answer, what) {
  const papers = answer.statements.map((each) => paper(each, answer));
  if (answer.house) papers.unshift(housePaper(answer.house, answer));
  box("papers").replaceChildren(...papers);
  box("back").href = addressOf(null);
  for (const link of box("one").querySelectorAll("[data-format]")) {
    link.href = BASE + restAddress(what, { format: link.dataset.format });
  }
  const [first] = answer.statements;
  const name = what === HOUSE ? t("The house") : what === ALL ? "" : first?.name;
  document.title = [t("Electricity statement"), name, days(...period())].filter(Boolean).join(", ");
}

/** Why there is nothing to show, in place of it. */
function showNothing(text) {
  for (const id of ["list", "one"]) box(id).hidden = true;
  setText(box("nothing"), text);
  box("nothing").hidden = !text;
}

async function load() {
  const own = (latest += 1);
  const what = asked().get("show");
  showFilter();
  showUtility(!what);
  if (!form.checkValidity() || form.elements.from.value > form.elements.to.value) {
    showNothing(t("A statement begins today or earlier, ends this year, and not before it begins."));
    return;
  }
  try {
    const [answer, house] = await Promise.all([
      getJson(restAddress(what)),
      // A house without a meter of its consumption has no statement.
      what ? null : getJson(restAddress(HOUSE)).catch(() => null),
    ]);
    if (own !== latest) return;
    notice("");
    if (!answer.statements.length) {
      showNothing(t("There is no meter yet, and so no statement."));
      return;
    }
    showNothing("");
    box(what ? "one" : "list").hidden = false;
    if (what) showOne(answer, what);
    else showList(answer, house);
  } catch (error) {
    if (own !== latest) return;
    showNothing(error.status === 409 ? t("There is nothing to show yet: no hour of this period is complete. Hours are, some minutes after their end.")
      : t("This statement cannot be made: {why}", { why: error.message }));
  }
}

function go(address) {
  history.pushState(null, "", address);
  return load();
}

form.addEventListener("submit", (event) => event.preventDefault());
function change(changes) {
  const next = asked();
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  go(`${location.pathname}?${next}`);
}
form.addEventListener("change", ({ target: { name, value } }) => {
  if (value || name === "tariff") change({ [name]: value });
});
form.addEventListener("click", ({ target: { dataset } }) => {
  const chosen = PERIODS[dataset.period]?.(dayOf(now_s()));
  if (chosen) change({ from: chosen[0], to: chosen[1] });
});
document.querySelector("main").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-show], #back, #all");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.href).then(() => scrollTo(0, 0));
});
box("print").addEventListener("click", () => print());

async function refresh() {
  ({ tariffs } = await getJson("/tariffs/").catch(() => ({ tariffs: [] })));
  await Promise.all([load(), refreshUtility().then(() => showUtility(!asked().get("show")), failed)]);
}

const failed = (error) => notice(t("Readings of the utility’s meter are unavailable: {why}", { why: error.message }));

addEventListener("popstate", load);
addEventListener("hashchange", leadToUtility);
const first = refresh();
first.then(leadToUtility);
connect({ first, onChange: (whole) => whole && load() });
