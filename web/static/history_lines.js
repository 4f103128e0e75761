// Power and other quantities of a period as lines, of one meter with the band from the lowest to the
// highest: a data set for the chart, the table and the file.

import {
  axisTexts, decimals, family, format, isAdditive, label, phaseOf, shortLabel,
} from "./catalogue.js";
import { fetchBars, paintOf } from "./history_bars.js";
import { fetchSeries, holesOf } from "./history_data.js";
import { HOUSE, beforeOf, periodOf } from "./history_state.js";
import { DAY_S, fineMoment, moment, ticksOf } from "./history_time.js";
import { t } from "./language.js";

export const POWER = "power";
/** The power of each phase, which is no quantity of the catalogue. */
export const PHASES = "phases";
const MOST_POINTS = 600;
/** Points of a day: those of its 5-minute roll-ups, which are read much faster than readings. */
const DAY_POINTS = 288;
const DASHES = { l2: [7, 3], l3: [2, 3], 1: [8, 3], 2: [3, 3], 3: [10, 3, 2, 3], 4: [1, 3], 5: [14, 4] };
const HOUSE_PAINTS = { consumption: "import", grid: "c6", production: "own", storage: "c4" };

const houseLabels = () => ({
  consumption: t("Consumption"), grid: t("Grid"), production: t("Production"), storage: t("Battery"),
});

/** The quantities that show one: itself, or its phases where it has any. */
function membersOf(show, meter) {
  const head = show === PHASES ? POWER : show;
  const phases = family(head).filter((name) => phaseOf(name) && meter?.has.has(name));
  return (show === PHASES || (show !== POWER && phases.length)) ? phases : [head];
}

const pointsOf = ({ from, to }, width) => {
  if (to - from > 100 * DAY_S) return Math.min(1000, Math.round((to - from) / DAY_S)); // no day and night
  const most = Math.min(MOST_POINTS, Math.max(60, Math.round(width / 2)));
  return to - from > 5 * 3600 && to - from <= 93_600 ? Math.min(DAY_POINTS, most) : most;
};

function oneColumns(subject, head, names, answer) {
  if (subject.id === HOUSE) {
    const texts = houseLabels();
    const all = [...answer.columns].filter(([, { mean }]) => mean.some((value) => value !== null));
    const isPlain = !all.some(([name]) => name === "production" || name === "storage");
    const shown = all.filter(([name]) => !(isPlain && name === "grid" && all.length > 1));
    return shown.map(([name, { mean }]) => (
      { key: name, label: texts[name], values: mean, paint: HOUSE_PAINTS[name] }));
  }
  return names.map((name) => {
    const { mean, min, max } = answer.columns.get(name);
    const phase = phaseOf(name);
    const band = names.length === 1 ? { low: min, high: max } : {};
    const text = names.length > 1 ? shortLabel(name, head) : label(name);
    return { key: name, label: text, values: mean, paint: phase ?? "import", dash: DASHES[phase], ...band };
  });
}

/** The columns of several subjects with the times that any of them has. */
function compared(subjects, head, answers) {
  const ts = [...new Set(answers.flatMap((answer) => answer.ts))].sort((a, b) => a - b);
  const columns = subjects.map(({ id, name }, place) => {
    const { ts: own, columns: found } = answers[place];
    const mean = found.get(id === HOUSE ? "consumption" : head)?.mean ?? [];
    const at = new Map(own.map((time, row) => [time, mean[row]]));
    // undefined: another subject's time, over which the line goes on
    const values = ts.map((time) => at.get(time));
    return { key: id, label: name, values, paint: paintOf(place), dash: DASHES[place] };
  });
  return { ts, columns };
}

function ghostOf(answer, name, shift) {
  const values = answer.columns.get(name)?.mean ?? [];
  return values.some((value) => value !== null)
    ? [{ ts: answer.ts.map((at) => at + shift), values }] : null;
}

export const isBars = (show) => show === "energy" || show === "cost";

/** Fetch what is to be shown of the subjects as a data set for a chart of `width` pixels. */
export async function fetchData(state, show, subjects, meters, now, width) {
  if (subjects.some(({ isUnknown }) => isUnknown)) {
    const none = { columns: [], holes: [], marks: [], ...periodOf(state, now) };
    return { kind: "bars", show, head: show, isEmpty: true, ...none };
  }
  if (isBars(show)) return fetchBars(state, show, subjects, now);
  return fetchLines(state, show, subjects, meters, now, width);
}

async function fetchLines(state, show, subjects, meters, now, width) {
  const period = periodOf(state, now);
  const points = pointsOf(period, width);
  const head = show === PHASES ? POWER : show;
  const isOne = subjects.length === 1;
  const namesOf = (id) => (isOne ? membersOf(show, meters.get(id)) : [head]);
  const before = beforeOf(state, now);
  const canCompare = isOne && namesOf(subjects[0].id).length === 1;
  const [earlier, ...answers] = await Promise.all([
    canCompare && state.before ? fetchSeries(subjects[0].id, namesOf(subjects[0].id), before, now, points) : null,
    ...subjects.map(({ id }) => fetchSeries(id, namesOf(id), period, now, points)),
  ]);
  const names = namesOf(subjects[0].id);
  const { ts, columns } = isOne
    ? { ts: answers[0].ts, columns: oneColumns(subjects[0], head, names, answers[0]) }
    : compared(subjects, head, answers);
  const first = Math.min(...subjects.map(({ first_s }) => first_s ?? Infinity));
  const isEmpty = !columns.some(({ values }) => values.some((value) => typeof value === "number"));
  const found = isOne && !isEmpty ? holesOf(answers[0], period, now) : [];
  const holes = found.flatMap((hole) => split(hole, first));
  const isFine = answers.some(({ step }) => step < 55);
  const ghostName = subjects[0].id === HOUSE ? columns[0]?.key : head;
  return {
    kind: "lines", isEmpty, show, head, canCompare, ts, columns, holes, marks: [], ...period,
    ghost: earlier && !isEmpty && ghostOf(earlier, ghostName, period.from - before.from),
    fromZero: isAdditive(head), least: 40 / 10 ** decimals(head),
    ticks: (pixels, from, to) => ticksOf(from, to, pixels),
    axis: (splits, step) => axisTexts(head, splits, step),
    format: (value) => format(head, value),
    textOf: (row) => (isFine ? fineMoment(ts[row]) : moment(ts[row], true)),
  };
}

/** A time without readings with its word; in two where the first reading is in it. */
function split({ from, to }, first) {
  const before = { from, to: Math.min(to, first), text: t("not measured yet") };
  const after = { from: Math.max(from, Math.min(first, to)), to, text: t("no readings") };
  return [before, after].filter((hole) => hole.to - hole.from > 1);
}
