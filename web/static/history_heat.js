// The heat map: how much each hour of each day used, the days from left to right, the hours from top
// to bottom by the site's clock.

import { format, setText } from "./catalogue.js";
import { AXIS, colour, faint, place } from "./chart.js";
import { ENERGY } from "./history_bars.js";
import { fetchEnergy } from "./history_data.js";
import { HOUSE } from "./history_state.js";
import { moment, slotTicks, startOf, ticksOf } from "./history_time.js";
import { t } from "./language.js";

const HOURS = [0, 6, 12, 18, 24];
const LEAST_ALPHA = 0.06;
const KEPT_MS = 600_000;
/** Days up to which the axis names days, each below its column. */
const MOST_NAMED = 31;

/** Whether a period has enough days for a heat map. */
export const hasHeat = ({ from, to }) => to - from > 1.5 * 86_400 && to - from < 400 * 86_400;

/** The days of a period, each with the net use of its hours in kWh; undefined where not known. */
async function fetchDays(id, period) {
  const { rows } = await fetchEnergy(id, "hour", period);
  const days = [];
  for (const row of rows) {
    if (!days.length || row.from >= days.at(-1).to) {
      days.push({ from: row.from, to: startOf("day", row.from, 1), cells: new Array(24) });
    }
    const { cells } = days.at(-1);
    const hour = Number(row.clock.slice(0, 2));
    const value = id === HOUSE ? row.consumption
      : row.imported === null ? null : row.imported - (row.exported ?? 0);
    // An hour that the clock repeats has two rows: its cell is their mean.
    if (value !== null) cells[hour] = cells[hour] === undefined ? value : (cells[hour] + value) / 2;
  }
  return days;
}

export class HeatMap {
  constructor(box, readout, scale) {
    Object.assign(this, { box, readout, scale, days: [], range: [0, 1], most: 1, least: 0, requests: 0 });
  }

  /** Fetch and draw the heat map of a subject; that of a running period not each time. */
  async show(period, id) {
    const key = `${id} ${period.from} ${period.to}`;
    const request = (this.requests += 1);
    if (key === this.key && performance.now() - this.fetched_ms < KEPT_MS) return;
    const days = await fetchDays(id, period);
    if (request !== this.requests) return; // a later one is on its way
    Object.assign(this, { key, fetched_ms: performance.now() });
    const known = days.flatMap(({ cells }) => cells.filter((value) => value !== undefined));
    this.days = days;
    this.range = [period.from, period.to];
    this.most = Math.max(...known, 0.001);
    this.least = Math.min(...known, 0);
    const columns = [days.map(({ from, to }) => (from + to) / 2), days.map(() => null)];
    if (this.chart) this.chart.setData(columns);
    else this.chart = place(this.box, this.options(), columns);
    this.describe(known);
  }

  options() {
    return {
      legend: { show: false }, padding: [6, 18, 0, 0],
      cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: true, range: () => this.range }, y: { range: () => [0, 24], dir: -1 } },
      axes: [
        { ...AXIS, grid: { show: false }, gap: 6, size: 28,
          splits: (chart) => this.ticks(chart).map(({ at }) => at),
          values: (chart) => this.ticks(chart).map(({ text }) => text) },
        { ...AXIS, grid: { show: false }, size: 66, gap: 8, splits: () => HOURS,
          values: () => HOURS.map((hour) => `${String(hour).padStart(2, "0")}:00`) },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { drawAxes: [(chart) => this.draw(chart)], setCursor: [(chart) => this.point(chart)] },
    };
  }

  ticks(chart) {
    const width = chart.over.clientWidth || chart.width - 90;
    return this.days.length > MOST_NAMED ? ticksOf(...this.range, width) : slotTicks("day", this.days, width);
  }

  draw(chart) {
    const { ctx } = chart;
    const [bought, sold] = [colour("import"), colour("export")];
    for (const { from, to, cells } of this.days) {
      const left = Math.round(chart.valToPos(from, "x", true));
      const width = Math.round(chart.valToPos(to, "x", true)) - left;
      const gap = width > 6 ? 1 : 0;
      for (let hour = 0; hour < 24; hour += 1) {
        const value = cells[hour];
        if (value === undefined) continue;
        const top = Math.round(chart.valToPos(hour, "y", true));
        const height = Math.round(chart.valToPos(hour + 1, "y", true)) - top;
        const share = value < 0 ? value / this.least : value / this.most;
        ctx.fillStyle = faint(value < 0 ? sold : bought, LEAST_ALPHA + (1 - LEAST_ALPHA) * share);
        ctx.fillRect(left, top, width - gap, height - gap);
      }
    }
  }

  point(chart) {
    const { left, top, idx } = chart.cursor;
    const day = left >= 0 ? this.days[idx] : null;
    const hour = Math.floor(chart.posToVal(top, "y"));
    const value = day?.cells[hour];
    setText(this.readout, value === undefined ? ""
      : `${moment(day.from)}, ${String(hour).padStart(2, "0")}:00 · ${format(ENERGY, value)}`);
  }

  describe(known) {
    this.scale.toggleAttribute("data-signed", this.least < 0);
    setText(this.scale.querySelector(".least"), format(ENERGY, this.least));
    setText(this.scale.querySelector(".most"), format(ENERGY, this.most));
    const means = Array.from({ length: 24 }, (_each, hour) => {
      const all = this.days.map(({ cells }) => cells[hour]).filter((value) => value !== undefined);
      return { hour, mean: all.reduce((a, b) => a + b, 0) / (all.length || 1) };
    }).sort((a, b) => b.mean - a.mean);
    const at = `${String(means[0].hour).padStart(2, "0")}:00`;
    this.box.setAttribute("aria-label", known.length
      ? t("Heat map of the hours: most at {at}, {energy} on average", { at, energy: format(ENERGY, means[0].mean) })
      : t("No readings in this period"));
  }
}
