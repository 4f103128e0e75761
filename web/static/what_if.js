// What the consumption of a period would have cost by each tariff.

import { MISSING, element, format, money, setText } from "./catalogue.js";
import { t } from "./language.js";
import { getJson, notice, now_s } from "./live.js";
import { dayOf, daysAfter, epoch, iso, monthAfter } from "./site_time.js";

const ENERGY = "energy_import";
const LONGEST_BY_DAY = 400;

/** The first and the last day of a period with a name, by the day of today. */
const PERIODS = {
  month: (today) => [monthAfter(today, 0), today],
  "last-month": (today) => [monthAfter(today, -1), daysAfter(monthAfter(today, 0), -1)],
  year: (today) => [`${today.slice(0, 4)}-01-01`, today],
  "last-year": (today) => [`${today.slice(0, 4) - 1}-01-01`, `${today.slice(0, 4) - 1}-12-31`],
};

/** The sum of a field; null where one of them is unknown, as a part of a sum is none. */
const sum = (periods, name) => periods.reduce((all, { [name]: value }) =>
  (all === null || value === null ? null : all + value), 0);
const known = (periods, name) => sum(periods.filter((each) => each[name] !== null), name);

/** Connect the form of the comparison with its table; returns what the page calls. */
export function whatIf(form, target, consumed) {
  let tariffs = [];
  let latest = 0;
  const asked = () => new URLSearchParams(location.search);

  function showAddress() {
    const today = dayOf(now_s());
    const [from, to] = PERIODS.month(today);
    const { elements } = form;
    elements.from.value = asked().get("from") ?? from;
    elements.to.value = asked().get("to") ?? to;
    const meter = asked().get("meter");
    if (meter && [...elements.meter.options].some(({ value }) => value === meter)) elements.meter.value = meter;
    for (const button of form.querySelectorAll("[data-period]")) {
      const period = PERIODS[button.dataset.period](today);
      button.setAttribute("aria-pressed", String(period[0] === elements.from.value && period[1] === elements.to.value));
    }
    compare();
  }

  /** Take the meters and tariffs to choose from. */
  function offer(meters, some) {
    tariffs = some;
    const { meter } = form.elements;
    const before = meter.value || meters.find(({ role }) => role === "grid")?.meter_id;
    meter.replaceChildren(...meters.map(({ meter_id: id, name }) =>
      element("option", { value: id }, name === id ? id : `${name} (${id})`)));
    meter.value = before && meters.some(({ meter_id: id }) => id === before) ? before : meters[0]?.meter_id ?? "";
    showAddress();
  }

  async function compare() {
    const own = (latest += 1);
    const { meter, from, to } = form.elements;
    if (!meter.value || !tariffs.length) return;
    const span = [epoch(from.value), epoch(daysAfter(to.value || from.value, 1))];
    to.setCustomValidity(span[0] < span[1] ? "" : t("The end is before the start."));
    if (!form.reportValidity()) return;
    target.setAttribute("aria-busy", "true");
    const isLong = (span[1] - span[0]) / 86_400 > LONGEST_BY_DAY;
    const query = { period: isLong ? "month" : "day", from: iso(span[0]), to: iso(span[1]) };
    const ask = (tariff) => getJson(`/meters/${encodeURIComponent(meter.value)}/energy?${
      new URLSearchParams(tariff ? { ...query, tariff } : query)}`);
    try {
      const [mine, ...answers] = await Promise.all([ask(null), ...tariffs.map(({ name }) => ask(name))]);
      if (own === latest) show(mine, answers);
    } catch (error) {
      if (own === latest) notice(t("The comparison is unavailable: {why}", { why: error.message }));
    }
    if (own === latest) target.setAttribute("aria-busy", "false");
  }

  function show(mine, answers) {
    const [drawn, fedIn] = ["imported", "exported"].map((name) => mine && known(mine.periods, name));
    if (!drawn && !fedIn) {
      setText(consumed, t("Nothing was counted in this period."));
      target.replaceChildren();
      return;
    }
    const counted = [t("{energy} drawn", { energy: format(ENERGY, drawn) })];
    if (fedIn) counted.push(t("{energy} fed in", { energy: format(ENERGY, fedIn) }));
    setText(consumed, counted.join(", "));
    const costs = answers.map(({ tariff, periods }) =>
      ({ tariff, cost: sum(periods, "cost"), uncovered: known(periods, "uncovered") }));
    const base = costs.find(({ tariff }) => tariff === mine.tariff)?.cost ?? null;
    target.replaceChildren(table(costs, base, mine));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  const change = (changes) => {
    const next = asked();
    for (const [name, value] of Object.entries(changes)) next.set(name, value);
    history.pushState(null, "", `?${next}`);
    showAddress();
  };
  form.addEventListener("change", ({ target: { name, value } }) => value && change({ [name]: value }));
  form.addEventListener("click", ({ target: { dataset } }) => {
    const period = PERIODS[dataset.period]?.(dayOf(now_s()));
    if (period) change({ from: period[0], to: period[1] });
  });
  return { offer, showAddress };
}

/** A row for each tariff: its cost, and how much that is more or less than by the meter's own. */
function table(costs, base, { tariff: ownTariff, currency }) {
  const highest = Math.max(...costs.map(({ cost }) => cost ?? 0));
  const rows = costs.map(({ tariff, cost, uncovered }) => {
    const bar = element("span", { class: "share-bar" });
    bar.style.setProperty("--share", cost > 0 && highest > 0 ? cost / highest : 0);
    const isOwn = tariff === ownTariff;
    return element("tr", { "data-tariff": tariff, class: isOwn ? "own" : null },
      element("th", { scope: "row" }, tariff, ...(isOwn ? [element("span", { class: "about" }, t("its own"))] : [])),
      element("td", { class: "bars" }, bar),
      element("td", { class: "number" }, cost === null
        ? t("not known: {energy} have no price", { energy: format(ENERGY, uncovered) }) : money(cost, currency)),
      element("td", { class: "number" }, isOwn ? "" : difference(cost, base, currency)));
  });
  const heads = [[t("Tariff")], ["", "bars"], [t("Cost"), "number"], [t("Difference"), "number"]];
  return element("table", { class: "plain costs" },
    element("thead", {}, element("tr", {}, ...heads.map(([text, kind]) =>
      element(text ? "th" : "td", text ? { scope: "col", class: kind } : { class: kind }, text)))),
    element("tbody", {}, ...rows));
}

function difference(cost, base, currency) {
  if (cost === null || base === null) return MISSING;
  const change = cost - base;
  if (Math.abs(change) < 0.005) return t("the same");
  const amount = money(Math.abs(change), currency);
  return change < 0 ? t("{amount} less", { amount }) : t("{amount} more", { amount });
}
