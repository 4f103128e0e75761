// Dynamic prices of quarter-hours as steps: a chart with now marked and gaps shown as gaps, a table of
// it, and what it says in words. `prices` are rows of epoch seconds and the price from there on.

import { ZONE, clock, element, unit } from "./catalogue.js";
import { t } from "./language.js";
import { dayOf, daysAfter, epoch } from "./site_time.js";

const QUARTER_S = 900;
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 1000;
const HOURS = [0, 6, 12, 18];
const LEAST_LABEL = 0.045;
const days = new Intl.DateTimeFormat(undefined, {
  weekday: "long", day: "numeric", month: "short", timeZone: ZONE,
});

/** A price of a kWh as a text, in the currency and with up to four decimals. */
export function priceText(price, currency) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: 4 };
  try {
    return new Intl.NumberFormat(undefined, { style: "currency", currency, ...digits }).format(price);
  } catch {
    return `${new Intl.NumberFormat(undefined, digits).format(price)}\u202f${currency}`;
  }
}

/** Neighbours of one price as one: from, to and price; what lies between them has no price. */
function runs(prices) {
  const found = [];
  for (const [from, price] of prices) {
    const last = found.at(-1);
    if (last && last.to === from && last.price === price) last.to = from + QUARTER_S;
    else found.push({ from, to: from + QUARTER_S, price });
  }
  return found;
}

function gapsOf(prices, [begin, end]) {
  const edges = [[begin - QUARTER_S], ...prices, [end]].map(([at]) => at);
  return edges.slice(1)
    .map((to, index) => ({ from: edges[index] + QUARTER_S, to }))
    .filter(({ from, to }) => to > from);
}

const spanText = ({ from, to }) => `${days.format(from * 1000)}, ${clock(from)}–${clock(to)}`;

/** What the prices say: the price of now, the extremes, and where there is none. */
export function stepTexts(prices, { span, currency, markup, now }) {
  const all = runs(prices);
  const perKwh = `/${unit("energy")}`;
  const current = all.find(({ from, to }) => from <= now && now < to);
  const nowText = current
    ? t("Now {price}, until {time}", { price: priceText(current.price, currency) + perKwh, time: clock(current.to) })
    : t("No price is known for now");
  const rest = markup ? t("with the markup of {markup}, without taxes", { markup: priceText(markup, currency) })
    : t("without taxes");
  const [low, high] = [all.toSorted((a, b) => a.price - b.price)[0],
    all.toSorted((a, b) => b.price - a.price)[0]];
  const extremes = low ? t("lowest {low} ({when}), highest {high} ({then})", {
    low: priceText(low.price, currency), when: spanText(low),
    high: priceText(high.price, currency), then: spanText(high),
  }) : "";
  const missing = gapsOf(prices, span).map(spanText);
  return {
    now: [nowText, rest].join(" · "),
    summary: [nowText, extremes].filter(Boolean).join("; "),
    gaps: missing.length ? t("No price: {spans}", { spans: missing.join("; ") }) : "",
  };
}

export function stepTable(prices, currency) {
  const heads = [t("Time"), `${t("Price")} /${unit("energy")}`];
  return element("table", { class: "plain" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, heads[0]),
      element("th", { scope: "col", class: "number" }, heads[1]))),
    element("tbody", {}, ...runs(prices).map((run) => element("tr", {},
      element("th", { scope: "row" }, spanText(run)),
      element("td", { class: "number" }, priceText(run.price, currency))))));
}

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Round steps of an axis from `low` to `high`, at most five of them. */
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  return Array.from({ length: count }, (_, index) => (Math.ceil(low / step - 1e-9) + index) * step);
}

/** Draw the prices into a box; `onPoint` gets the text of the step below the pointer, or nothing. */
export function stepChart(box, prices, { span, currency, now }, onPoint) {
  const [begin, end] = span;
  const values = prices.map(([, price]) => price);
  const [low, top] = [Math.min(0, ...values), Math.max(0, ...values)];
  const high = top > low ? top + (top - low) * 0.08 : low + 1;
  const x = (at) => at - begin;
  const y = (price) => (HEIGHT * (high - price)) / (high - low);
  const share = (at) => x(at) / (end - begin);
  const all = runs(prices);

  const drawing = svg("svg", { viewBox: `0 0 ${end - begin} ${HEIGHT}`, preserveAspectRatio: "none" });
  const axis = ticks(low, high);
  for (const tick of axis) {
    drawing.append(svg("line", { class: "grid", x1: 0, x2: end - begin, y1: y(tick), y2: y(tick) }));
  }
  for (const { from, to, price } of all) {
    drawing.append(svg("rect", { class: "area", x: x(from), width: to - from,
      y: y(Math.max(price, 0)), height: Math.abs(y(price) - y(0)) }));
  }
  drawing.append(svg("path", { class: "line", d: linePath(all, x, y) }));

  const place = (attributes, at, ...content) => {
    const made = element("span", attributes, ...content);
    made.style.setProperty("--at", share(at));
    return made;
  };
  const marks = gapsOf(prices, span).map(({ from, to }) => {
    const wide = share(to) - share(from) > LEAST_LABEL;
    const made = place({ class: "gap" }, from, wide ? t("no price") : "");
    made.style.setProperty("--width", share(to) - share(from));
    return made;
  });
  const dayNames = [dayOf(begin), daysAfter(dayOf(begin), 1)];
  const hours = dayNames.flatMap((day) => HOURS.map((hour) => {
    const at = epoch(`${day}T${String(hour).padStart(2, "0")}:00`);
    return place({ class: `hour ${{ 0: "midnight", 12: "noon" }[hour] ?? ""}` }, at, clock(at));
  }));
  const names = dayNames.map((day) => {
    const noon = epoch(`${day}T12:00`);
    return place({ class: "day-name" }, noon, days.format(noon * 1000));
  });
  const cursor = place({ class: "now-line" }, now, element("span", {}, t("now")));
  const plot = element("div", { class: "plot" }, drawing, ...marks, cursor);
  const levels = axis.map((tick) => {
    const made = element("span", { class: "level" }, priceText(tick, currency));
    made.style.setProperty("--at", y(tick) / HEIGHT);
    return made;
  });
  box.replaceChildren(element("div", { class: "levels" }, ...levels), plot,
    element("div", { class: "hours" }, ...hours, ...names));

  plot.addEventListener("pointermove", ({ clientX }) => {
    const { left: from, width } = plot.getBoundingClientRect();
    const at = begin + ((clientX - from) / width) * (end - begin);
    const run = all.find((each) => each.from <= at && at < each.to);
    onPoint(run ? `${spanText(run)}: ${priceText(run.price, currency)}` : t("no price"));
  });
  plot.addEventListener("pointerleave", () => onPoint(""));
}

/** A line along the steps, broken where there is no price. */
function linePath(all, x, y) {
  return all.map(({ from, to, price }, index) => {
    const joined = all[index - 1]?.to === from;
    return `${joined ? "L" : "M"}${x(from)} ${y(price)}H${x(to)}`;
  }).join("");
}
