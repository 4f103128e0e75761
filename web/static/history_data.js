// What the history answers: the meters, energy by periods, columns of a chart, figures of a period.

import { getJson } from "./live.js";
import { HOUSE } from "./history_state.js";
import { t } from "./language.js";

const iso = (at_s) => new Date(at_s * 1000).toISOString();
const pathOf = (id) => (id === HOUSE ? "/site" : `/meters/${encodeURIComponent(id)}`);
const HOUSE_COLUMNS = ["consumption", "grid", "production", "storage"];
/** Multiple of the usual distance of points from which there is a gap between two of them. */
const GAP = 2.5;
/** Seconds after which a reading is stored at the latest. */
const STORED_S = 90;

/** The meters by their ids: name, first and last reading, and the quantities that each sends. */
export async function fetchMeters() {
  const rows = await getJson("/meters/?fields=name,role,first_seen,last_seen,latest");
  return new Map(rows.map((row) => [row.meter_id, {
    id: row.meter_id,
    name: row.name === row.meter_id && /^\d+$/.test(row.name) ? t("Meter {id}", { id: row.name }) : row.name,
    role: row.role,
    first_s: row.first_seen ? Date.parse(row.first_seen) / 1000 : null,
    last_s: row.last_seen ? Date.parse(row.last_seen) / 1000 : null,
    has: new Set(Object.keys(row.latest ?? {})),
  }]));
}

/** Rows of energy in kWh by periods, with `costs` also what they cost, and the currency. */
export async function fetchEnergy(id, unit, { from, to }, costs = false) {
  const query = new URLSearchParams({ period: unit, from: iso(from), to: iso(to), costs });
  if (id === HOUSE) query.set("meters", "false");
  const answer = await getJson(`${pathOf(id)}/energy?${query}`);
  const rows = (answer?.periods ?? []).map((row) => ({
    ...row, from: Date.parse(row.from) / 1000, to: Date.parse(row.to) / 1000, clock: row.from.slice(11, 16),
  }));
  return { rows, currency: answer?.currency ?? null };
}

/** The figures of a period up to now; null while there is no history, or before it begins. */
export async function fetchSummary(id, { from, to }, now) {
  if (from >= now) return null;
  const query = new URLSearchParams({ from: iso(from), to: iso(Math.min(to, now)) });
  if (id === HOUSE) query.set("meters", "false");
  return getJson(`${pathOf(id)}/summary?${query}`);
}

/**
 * Columns of a chart of a period up to now: `ts`, and of each name `mean`, of a meter also `min` and
 * `max`; `step` is the usual distance of its points.
 */
export async function fetchSeries(id, names, { from, to }, now, points) {
  const end = Math.min(to, now);
  const query = new URLSearchParams({ from: iso(from), to: iso(end), points });
  if (end <= from) return { ts: [], step: 1, columns: new Map() };
  if (id === HOUSE) {
    const answer = await getJson(`/site/series?${query}`);
    const columns = new Map(HOUSE_COLUMNS.map((name) => [name, { mean: answer[name] ?? [] }]));
    return { ts: answer.ts, step: (end - from) / points, columns };
  }
  query.set("quantities", names.join());
  query.set("extremes", "true");
  const answer = await getJson(`${pathOf(id)}/series?${query}`);
  const columns = new Map(names.map((name) => [name, {
    mean: answer[name] ?? [], min: answer[`${name}_min`] ?? [], max: answer[`${name}_max`] ?? [],
  }]));
  return { ts: answer.ts, step: usual(answer.ts, (end - from) / points), columns };
}

/** The median distance of points: the times asked for may be finer than what is kept. */
function usual(ts, fallback) {
  const apart = ts.slice(1).map((at, index) => at - ts[index]).sort((a, b) => a - b);
  return Math.max(apart[Math.floor(apart.length / 2)] ?? 0, fallback);
}

/** The times in a period for which none of the columns has a value: `from` and `to` of each. */
export function holesOf({ ts, step, columns }, { from, to }, now) {
  const means = [...columns.values()].map(({ mean }) => mean);
  const known = ts.filter((_at, row) => means.some((mean) => typeof mean[row] === "number"));
  const end = Math.min(to, now);
  const found = [];
  let last = from - step;
  for (const at of known) {
    if (at - last > GAP * step) found.push({ from: Math.max(last + step, from), to: at });
    last = at;
  }
  const late = to > now ? STORED_S : 0;
  if (end - last > GAP * step + late) found.push({ from: Math.max(last + step, from), to: end });
  return found;
}
