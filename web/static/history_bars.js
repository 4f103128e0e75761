// Energy and cost of a period as bars: a data set for the chart, the table and the file.

import { axisTexts, format, money, moneyParts, number } from "./catalogue.js";
import { fetchEnergy } from "./history_data.js";
import { HOUSE, beforeOf, periodOf, unitOf } from "./history_state.js";
import { DAY_S, HOUR_S, periodText, slotTicks } from "./history_time.js";
import { t } from "./language.js";

export const ENERGY = "energy_import";
const PAINTS = ["c1", "c2", "c3", "c4", "c5", "c6"];

/** The colour of a subject among several. */
export const paintOf = (place) => PAINTS[place % PAINTS.length];

const isKnown = (value) => typeof value === "number";
const negative = (values) => values.map((value) => (isKnown(value) ? -value : null));
const some = (values) => values.some((value) => isKnown(value) && value !== 0);

/** The flows of a subject's rows: what it imported, what the house took from its own roof, exported. */
function flowsOf(id, rows) {
  const of = (name) => rows.map((row) => row[name] ?? null);
  if (id !== HOUSE) return { up: of("imported"), own: [], down: of("exported") };
  const isGrid = rows.some((row) => row.measured_by === "grid");
  if (!isGrid) return { up: of("consumption"), own: [], down: [] };
  return { up: of("imported"), own: of("self_consumed"), down: of("exported") };
}

function energyColumns(id, rows) {
  const { up, own, down } = flowsOf(id, rows);
  const isHouse = id === HOUSE;
  const text = isHouse && rows.every((row) => row.measured_by !== "grid") ? t("Used") : t("Imported");
  const columns = [
    { key: "up", group: "one", label: text, values: up, paint: "import" },
    { key: "own", group: "one", label: t("From the roof"), values: own, paint: "own" },
    { key: "down", group: "one", label: t("Exported"), values: negative(down), paint: "export", sign: -1 },
  ];
  const flowing = columns.filter(({ values }) => some(values));
  return flowing.length ? flowing : columns.slice(0, 1);
}

function comparedColumns(subjects, answers, show) {
  return subjects.flatMap(({ id, name }, place) => {
    const { rows } = answers[place];
    const [paint, group] = [paintOf(place), id];
    if (show === "cost") {
      return [{ key: id, group, label: name, values: rows.map(({ cost }) => cost), paint }];
    }
    const used = id === HOUSE ? rows.map(({ consumption }) => consumption) : flowsOf(id, rows).up;
    const down = id === HOUSE ? [] : negative(flowsOf(id, rows).down);
    return [
      { key: id, group, label: name, values: used, paint },
      { key: `${id}-`, group, label: t("{name}, exported", { name }), values: down, paint, alpha: 0.5, sign: -1 },
    ].filter(({ key, values }) => key === id || some(values));
  });
}

/** The values of the period before, each below the bar of the same place, or hour of the day. */
function ghostOf(id, show, slots, unit, before) {
  const length = slots.at(-1).to - slots[0].from;
  const byClock = unit === "hour" && Math.abs(length - DAY_S) <= HOUR_S;
  const rowOf = (slot, place) =>
    (byClock ? before.find((row) => row.clock === slot.clock) : before[place]);
  const rows = slots.map((slot, place) => rowOf(slot, place) ?? {});
  if (show === "cost") return [{ values: rows.map((row) => row.cost ?? null) }];
  const { up, own, down } = flowsOf(id, rows);
  const above = up.map((value, row) => (isKnown(value) ? value + (own[row] ?? 0) : null));
  return [{ values: above }, ...(some(down) ? [{ values: negative(down) }] : [])];
}

/** The slots that have begun and have no value: `from`, `to` and a word of each run of them. */
function holesOf(slots, columns, answers, subjects, now) {
  const first = Math.min(...subjects.map(({ first_s }) => first_s ?? Infinity));
  const found = [];
  slots.forEach((slot, row) => {
    if (slot.from >= now || columns.some(({ values }) => isKnown(values[row]))) return;
    const unpriced = answers.some(({ rows }) => rows[row]?.uncovered > 0);
    const text = unpriced ? t("no price") : slot.to <= first ? t("not measured yet") : t("no readings");
    const to = Math.min(slot.to, now);
    if (found.at(-1)?.text === text && found.at(-1).to === slot.from) found.at(-1).to = to;
    else found.push({ from: slot.from, to, text });
  });
  return found;
}

/** Whether a bar follows a time without readings: it has what was counted meanwhile, too. */
const isLate = (slot, row, columns, holes) => columns.some(({ values }) => values[row])
  && holes.some(({ to, text }) => to === slot.from && text === t("no readings"));

const plain = (value) => Math.abs(value);

/** How values of energy, or of money, are written. */
function written(show, currency) {
  if (show !== "cost") {
    return {
      format: (value) => format(ENERGY, value === null ? null : plain(value)),
      axis: (splits, step) => axisTexts(ENERGY, splits.map(plain), step),
      least: 0.05,
    };
  }
  const sign = currency && moneyParts(0, currency).find(({ type }) => type === "currency").value;
  const digits = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return {
    format: (value) => (isKnown(value) ? money(value, currency) : "–"),
    axis: (splits, step) => splits.map((value, place) => number(value, digits(step))
      + (place === splits.length - 1 ? `\u202f${sign}` : "")),
    least: 0.05,
  };
}

/** Fetch energy or cost (`show`) of the subjects as a data set. */
export async function fetchBars(state, show, subjects, now) {
  const [unit, period] = [unitOf(state, now), periodOf(state, now)];
  const [isOne, costs] = [subjects.length === 1, show === "cost"];
  const [before, ...answers] = await Promise.all([
    isOne && state.before ? fetchEnergy(subjects[0].id, unit, beforeOf(state, now), costs) : null,
    ...subjects.map(({ id }) => fetchEnergy(id, unit, period, costs)),
  ]);
  const rows = answers[0].rows;
  const currency = answers[0].currency;
  const empty = { kind: "bars", unit, show, currency, isEmpty: true, holes: [], marks: [], ...period };
  if (!rows.length) return empty;
  const columns = isOne && show === "cost"
    ? [{ key: "cost", group: "one", label: t("Cost"), values: rows.map(({ cost }) => cost), paint: "cost" }]
    : isOne ? energyColumns(subjects[0].id, rows) : comparedColumns(subjects, answers, show);
  const slots = rows.map(({ from, to, clock }) => ({ from, to, clock, text: periodText(unit, from, to) }));
  const ghost = before?.rows.length ? ghostOf(subjects[0].id, show, slots, unit, before.rows) : null;
  const isEmpty = !columns.some(({ values }) => values.some(isKnown));
  const holes = isEmpty ? [] : holesOf(slots, columns, answers, subjects, now);
  return {
    ...empty, isEmpty, slots, columns, holes, canCompare: isOne,
    from: slots[0].from, to: slots.at(-1).to,
    ghost: !isEmpty && ghost?.some(({ values }) => values.some(isKnown)) ? ghost : null,
    late: show === "cost" ? [] : slots.filter((slot, row) => isLate(slot, row, columns, holes)),
    fromZero: true,
    ticks: (width) => slotTicks(unit, slots, width),
    ...written(show, currency),
  };
}
