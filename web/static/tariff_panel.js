// A tariff as a panel: the prices in force, and those to come.

import { element, unit } from "./catalogue.js";
import { t } from "./language.js";
import { priceText } from "./price_steps.js";

const WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MONDAY_MS = Date.UTC(2024, 0, 1, 12);
const PER = { day: t("a day"), month: t("a month"), year: t("a year") };

const percents = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 4 });
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeZone: "UTC" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", timeZone: "UTC" });
const dayName = (day) => weekday.format(MONDAY_MS + WEEK.indexOf(day) * 86_400_000);
const date = (text) => dates.format(Date.parse(`${text}T12:00Z`));
const minutes = (text) => text.slice(0, 5);

/** "Mon–Fri", "Sat, Sun"; nothing where it is every day. */
function daysText(days) {
  if (days.length === WEEK.length) return "";
  const places = days.map((day) => WEEK.indexOf(day)).toSorted((a, b) => a - b);
  const isRow = places.length > 2 && places.at(-1) - places[0] === places.length - 1;
  return isRow ? `${dayName(WEEK[places[0]])}–${dayName(WEEK[places.at(-1)])}`
    : places.map((place) => dayName(WEEK[place])).join(", ");
}

/** What a tariff's prices consist of, as pairs of a name and an amount. */
function* lines(rates, currency) {
  const price = (amount) => `${priceText(amount, currency)}/${unit("energy")}`;
  for (const { name, from, to, days, price: amount } of rates.window) {
    const times = [`${minutes(from)}–${minutes(to)}`, daysText(days)].filter(Boolean).join(", ");
    yield [name ? `${name} (${times})` : times, price(amount)];
  }
  for (const { up_to: most, per, price: amount } of rates.tier) {
    yield [t("The first {most} {unit} {per}", { most, unit: unit("energy"), per: PER[per] }), price(amount)];
  }
  if (rates.dynamic) {
    const list = rates.dynamic === true ? rates.name : rates.dynamic;
    yield [t("Dynamic price"), t("by the list {name}", { name: list })];
    if (rates.markup) yield [t("Markup"), price(rates.markup)];
  } else {
    const rest = rates.window.length || rates.tier.length;
    yield [rest ? t("Otherwise") : t("At all times"), price(rates.price)];
  }
  if (rates.feed_in === "dynamic") yield [t("Paid for what is fed in"), t("by the list")];
  else if (rates.feed_in) yield [t("Paid for what is fed in"), price(rates.feed_in)];
  for (const { name, per, price: amount } of rates.standing) {
    yield [name, `${priceText(amount, currency)} ${PER[per]}`];
  }
  for (const { name, percent, per_kwh: each } of rates.tax) {
    yield [name, percent === null ? price(each) : percents.format(percent / 100)];
  }
}

function ratesList(rates, currency) {
  return element("dl", { class: "rates" }, ...[...lines(rates, currency)].map(([name, amount]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, amount))));
}

/** The panel of a tariff; `today` is the site's day. */
export function tariffPanel(tariff, today) {
  const current = tariff.rates.findLast(({ valid_from: from }) => from <= today);
  const coming = tariff.rates.filter(({ valid_from: from }) => from > today);
  const whose = [
    ...(tariff.is_default ? [t("of all meters without another one")] : []), ...tariff.meters,
  ].join(", ");
  const until = coming[0] ? t("In force since {since}, until {until}",
    { since: date(current?.valid_from ?? today), until: date(coming[0].valid_from) })
    : t("In force since {since}", { since: date(current?.valid_from ?? today) });
  return element("section", { class: "panel tariff", "data-tariff": tariff.name },
    element("div", { class: "panel-head" }, element("h2", {}, tariff.name),
      element("p", { class: "about" }, whose || t("of no meter"))),
    ...(current ? [element("h3", {}, until), ratesList(current, tariff.currency)]
      : [element("p", { class: "about" }, t("Not in force yet."))]),
    ...coming.flatMap((rates) => [
      element("h3", {}, t("From {since}", { since: date(rates.valid_from) })),
      ratesList(rates, tariff.currency)]));
}
