// The figures of a period: energy, cost, average, peak and base load, of one subject as cards beside
// those of the period before, of several as a table.

import { MISSING, element, format, isAdditive, money, number, unit } from "./catalogue.js";
import { ENERGY } from "./history_bars.js";
import { fetchSeries, fetchSummary } from "./history_data.js";
import { POWER } from "./history_lines.js";
import { HOUSE, beforeOf, periodOf } from "./history_state.js";
import { DAY_S, clock, moment } from "./history_time.js";
import { t } from "./language.js";

/** Energy or cost of the period before from which a share of it says something. */
const LEAST = 0.05;
const QUARTER_S = 900;
/** Points of one answer that are exact, and the longest period whose hours are worth many answers. */
const MOST_POINTS = 500;
const LONGEST_LOAD_S = 367 * DAY_S;
const KEPT_S = 600;
const BASE_SHARE = 0.05;

/** Energy without the digits that nobody reads in a sum of thousands. */
const kwh = (value) => (Math.abs(value) >= 1000
  ? `${number(value, 0)}\u202f${unit(ENERGY)}` : format(ENERGY, value));
const watts = (value) => format(POWER, value, 1000);
const percents = new Intl.NumberFormat(undefined, { style: "percent" });
const percent = (share) => (share === null ? MISSING : percents.format(share));

const kept = { key: "", at: -Infinity, load: null };

/** Peak and base load of the house, which no meter has by itself; of a running period not each time. */
export async function fetchHouseLoad(period, now) {
  const key = `${period.from} ${period.to}`;
  if (kept.key !== key || now - kept.at > KEPT_S) {
    Object.assign(kept, { key, at: now, load: await houseLoad(period, now) });
  }
  return kept.load;
}

async function houseLoad(period, now) {
  const length = Math.min(period.to, now) - period.from;
  const width = length > MOST_POINTS * QUARTER_S ? 4 * QUARTER_S : QUARTER_S;
  if (!(length > QUARTER_S) || length > LONGEST_LOAD_S) return { isPending: false };
  const known = [];
  for (let from = period.from; from < period.from + length; from += MOST_POINTS * width) {
    const points = Math.min(MOST_POINTS, Math.ceil((period.from + length - from) / width));
    const part = { from, to: from + points * width };
    const { ts, columns } = await fetchSeries(HOUSE, [], part, Infinity, points);
    columns.get("consumption").mean.forEach((power, row) => {
      if (power !== null) known.push({ power, at: ts[row] });
    });
  }
  known.sort((one, other) => one.power - other.power);
  const highest = known.at(-1);
  return highest ? {
    isPending: false,
    peak: { power: highest.power, at: new Date(highest.at * 1000), mean_of: width },
    base_load: known[Math.floor(known.length * BASE_SHARE)].power,
  } : { isPending: false };
}

/** Fetch the figures of each subject; of a single one also those of the period before, so far. */
export async function fetchFigures(state, subjects, now) {
  const period = periodOf(state, now);
  const before = beforeOf(state, now);
  const soFar = period.to > now ? Math.min(before.to, before.from + now - period.from) : before.to;
  const [{ id, first_s }] = subjects;
  const isComparable = subjects.length === 1 && first_s !== null && first_s <= before.from + QUARTER_S;
  const [earlier, ...figures] = await Promise.all([
    isComparable && state.before ? fetchSummary(id, { from: before.from, to: soFar }, now) : null,
    ...subjects.map((each) => fetchSummary(each.id, period, now)),
  ]);
  const nothing = (place) => (
    { marks: [], peak: null, base_load: null, isPending: subjects[place].id === HOUSE });
  return { period, earlier, figures: figures.map((each, place) => each && { ...nothing(place), ...each }) };
}

const used = (figures) => figures.consumption ?? figures.imported;

/** Mean power in W while the subject had readings; null where no energy is known. */
function average(figures, { first_s, last_s }, { from, to }, now) {
  if (used(figures) === null) return null;
  const begin = Math.max(from, first_s ?? from);
  const end = Math.min(to, now, last_s ?? now);
  if (!(end - begin > 60)) return null;
  const net = figures.consumption ?? figures.imported - (figures.exported ?? 0);
  return (net * 3_600_000) / (end - begin);
}

/** "12 % less than before"; empty where one of both is not known. */
function compared(now, before) {
  if (typeof now !== "number" || typeof before !== "number" || now < 0 || before < LEAST) return "";
  const change = Math.round(100 * (now / before - 1)) / 100;
  if (change === 0) return t("as much as before");
  const share = percent(Math.abs(change));
  return change < 0 ? t("{share} less than before", { share }) : t("{share} more than before", { share });
}

function peakText(peak) {
  const at = Date.parse(peak.at) / 1000 || peak.at / 1000;
  if (peak.mean_of) return t("{when}, mean of {minutes} min", { when: moment(at), minutes: peak.mean_of / 60 });
  const until = peak.exact_to >= 3600 && peak.exact_to < DAY_S ? `–${clock(at + peak.exact_to)}` : "";
  return moment(at) + until;
}

/** Whether a subject gives more than it takes, such as a solar plant: its power has no peak of use. */
const isSource = ({ imported, exported, production }) => production === undefined && exported > (imported ?? 0);

function* cardsOf(subject, figures, earlier, period, now) {
  const before = earlier ?? {};
  const energy = (title, name) => [title, kwh(figures[name]), compared(figures[name], before[name])];
  const isHouse = subject.id === HOUSE;
  if (isHouse) yield energy(t("Used"), "consumption");
  if (isHouse && figures.production !== null) yield energy(t("Produced"), "production");
  if (isSource(figures)) yield energy(t("Exported"), "exported");
  if (!isHouse || figures.production !== null) yield energy(t("Imported"), "imported");
  if (figures.exported && !isSource(figures)) yield energy(t("Exported"), "exported");
  if (isHouse && figures.self_consumption !== null) {
    const share = percent(figures.self_sufficiency);
    yield [t("Self-consumption"), percent(figures.self_consumption),
      figures.self_sufficiency === null ? "" : t("{share} of the use is own", { share })];
  }
  if (figures.currency) yield costCard(figures, before);
  yield* loadCards(subject, figures, period, now);
}

function costCard(figures, before) {
  const text = figures.cost === null ? MISSING : money(figures.cost, figures.currency);
  const isUnpriced = figures.cost === null && figures.uncovered > 0;
  const more = isUnpriced ? t("no price for {energy}", { energy: kwh(figures.uncovered) })
    : compared(figures.cost, before.cost);
  return [t("Cost"), text, more];
}

function* loadCards(subject, figures, period, now) {
  const mean = average(figures, subject, period, now);
  const days = (Math.min(period.to, now) - period.from) / DAY_S;
  if (mean !== null) {
    const energy = kwh((mean * 24) / 1000);
    yield [t("Average"), watts(mean), days > 1.5 ? t("{energy} a day", { energy }) : ""];
  }
  if (isSource(figures)) return;
  const { peak, base_load: base, isPending } = figures;
  if (peak || isPending) yield [t("Peak"), watts(peak?.power ?? null), peak ? peakText(peak) : ""];
  if (base !== null || isPending) yield [t("Base load"), watts(base), base === null ? "" : t("drawn practically always")];
}

/** Show the figures as cards, or in a table where there are several subjects. */
export function showFigures(box, subjects, { period, figures, earlier }, now) {
  if (subjects.length > 1) return showTable(box, subjects, period, figures, now);
  const cards = figures[0] ? [...cardsOf(subjects[0], figures[0], earlier, period, now)] : [];
  return show(box, cards);
}

function show(box, cards) {
  const isTwoRows = cards.length > 7;
  const isUneven = isTwoRows && cards.length % 2 === 1;
  const widest = isUneven ? cards.findIndex(([title]) => title === t("Peak")) : -1;
  const list = element("dl", {}, ...cards.map(([title, value, more], place) =>
    element("div", { class: place === widest ? "wide" : null }, element("dt", {}, title),
      element("dd", {}, value), element("dd", { class: "more" }, more))));
  list.style.setProperty("--columns", isTwoRows ? Math.ceil(cards.length / 2) : cards.length);
  box.replaceChildren(...(cards.length ? [list] : []));
}

function showTable(box, subjects, period, figures, now) {
  const hasCost = figures.some((each) => each?.currency);
  const heads = [t("Used"), t("Exported"), ...(hasCost ? [t("Cost")] : []), t("Average"), t("Peak"), t("Base load")];
  const rows = subjects.map((subject, place) => {
    const own = figures[place];
    const cells = own ? [
      kwh(used(own)), own.exported ? kwh(own.exported) : MISSING,
      ...(hasCost ? [own.cost === null ? MISSING : money(own.cost, own.currency)] : []),
      watts(average(own, subject, period, now)),
      own.peak ? `${watts(own.peak.power)} · ${peakText(own.peak)}` : MISSING, watts(own.base_load),
    ] : heads.map(() => MISSING);
    return element("tr", {}, element("th", { scope: "row", "data-paint": `c${place + 1}` }, subject.name),
      ...cells.map((text) => element("td", {}, text)));
  });
  box.replaceChildren(element("div", { class: "scroll panel", tabindex: 0, role: "region", "aria-label": t("Comparison") },
    element("table", { class: "readings" },
      element("thead", {}, element("tr", {}, element("td"),
        ...heads.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...rows))));
}

/** Show mean, lowest and highest of another quantity, from its data set. */
export function showExtremes(box, { columns, ts, format: written, head }) {
  const cards = columns.flatMap(({ label, values, low, high }) => {
    const known = values.filter((value) => typeof value === "number");
    if (!known.length || isAdditive(head)) return [];
    const find = (list, best) => list.reduce((found, value, row) =>
      (typeof value === "number" && (found === null || best(value, list[found])) ? row : found), null);
    const [least, most] = [find(low ?? values, (a, b) => a < b), find(high ?? values, (a, b) => a > b)];
    const mean = known.reduce((a, b) => a + b) / known.length;
    return [
      [t("{name}, mean", { name: label }), written(mean), ""],
      [t("{name}, lowest", { name: label }), written((low ?? values)[least]), moment(ts[least])],
      [t("{name}, highest", { name: label }), written((high ?? values)[most]), moment(ts[most])],
    ];
  });
  show(box, cards);
}
