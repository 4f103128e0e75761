// The chart of the history page: bars or lines of a data set, with the cursor that reads its values,
// and the select that zooms.

import { AXIS, colour, place, remove, zeroLine } from "./chart.js";
import { listenToPinch, selectByTouch } from "./chart_zoom.js";
import { element } from "./catalogue.js";
import {
  drawBand, drawBars, drawDots, drawGhostLine, drawHoles, drawMarks,
} from "./history_paint.js";

const LEAST_SELECT_PX = 6;
const NOTHING = { left: 0, width: 0, top: 0, height: 0 };

/** The lowest and highest value that a chart has to show. */
function extent({ kind, columns, ghost, least, fromZero }) {
  const values = [];
  const add = (column) => {
    for (const value of column ?? []) if (typeof value === "number") values.push(value);
  };
  if (kind === "bars") for (const row of stacked(columns)) add(row);
  else for (const { values: mean, low, high } of columns) [mean, low, high].forEach(add);
  for (const { values: before } of ghost ?? []) add(before);
  if (!values.length) return [0, least];
  let [low, high] = values.reduce(([a, b], each) => [Math.min(a, each), Math.max(b, each)],
    [Infinity, -Infinity]);
  if (fromZero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const room = Math.max((high - low) * 0.08, (least - (high - low)) / 2, 0);
  return [fromZero && low === 0 ? 0 : low - room, fromZero && high === 0 ? 0 : high + room];
}

/** The ends of the stacks of bars, above and below zero. */
function stacked(columns) {
  const ends = new Map();
  for (const { group, values } of columns) {
    values.forEach((value, row) => {
      const key = `${group}/${row}/${value < 0}`;
      ends.set(key, (ends.get(key) ?? 0) + (value ?? 0));
    });
  }
  return [[...ends.values()]];
}

export class HistoryChart {
  /**
   * `onZoom(from, to)`: a person dragged over it; `onStretch(from, to)`: two fingers stretched it;
   * `onPick(slot)`: chose a bar; `onReset`, `onCursor(row)`.
   */
  constructor(box, listeners) {
    this.box = box;
    this.listeners = listeners;
    this.built = "";
    this.row = null;
    this.view = null; // the range while fingers stretch it, until its data are there
    this.shade = element("div", { class: "slot-cursor", hidden: "" });
  }

  /** Draw a data set. */
  show(data) {
    this.data = data;
    this.view = null;
    this.range = extent(data);
    const built = `${data.kind} ${data.columns.map(({ key, paint, dash }) => [key, paint, dash])}`;
    const isBars = data.kind === "bars";
    const x = isBars ? data.slots.map(({ from, to }) => (from + to) / 2) : data.ts;
    const columns = isBars ? [x, x.map(() => null)] : [x, ...data.columns.map(({ values }) => values)];
    if (this.chart && built === this.built) {
      this.chart.setData(columns);
      return;
    }
    this.built = built;
    if (this.chart) remove(this.chart);
    this.chart = place(this.box, this.options(isBars), columns);
    this.listen();
  }

  options(isBars) {
    const series = isBars
      ? [{ paths: () => null, points: { show: false } }]
      : this.data.columns.map(({ paint, dash, fill }) => ({
        width: 1.75, points: { show: false }, dash, stroke: () => colour(paint), fill,
      }));
    return {
      legend: { show: false },
      padding: [14, 18, 0, 0],
      cursor: {
        x: !isBars, y: false,
        points: isBars ? { show: false } : {
          size: 7, width: 0, fill: (_chart, index) => colour(this.data.columns[index - 1].paint),
        },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => isBars || this.listeners.onReset() },
      },
      scales: {
        x: { time: true, range: () => this.shown },
        y: { range: () => this.range },
      },
      axes: [
        { ...AXIS, grid: { show: false }, gap: 6, size: 28,
          splits: (chart) => this.ticks(chart).map(({ at }) => at),
          values: (chart) => this.ticks(chart).map(({ text }) => text) },
        { ...AXIS, size: 66, gap: 8, space: 44,
          values: (_chart, splits, _axis, _space, step) => this.data.axis(splits, step) },
      ],
      series: [{}, ...series],
      hooks: {
        drawAxes: [(chart) => this.drawBelow(chart)],
        draw: [(chart) => this.drawAbove(chart)],
        setCursor: [(chart) => this.point(chart)],
        setSelect: [(chart) => this.select(chart)],
      },
    };
  }

  /** The range of time that is drawn. */
  get shown() {
    return this.view ?? [this.data.from, this.data.to];
  }

  ticks(chart) {
    const [from, to] = this.shown;
    const found = this.data.ticks(chart.over.clientWidth || chart.width - 90, from, to);
    return this.view ? found.filter(({ at }) => at >= from && at <= to) : found;
  }

  drawBelow(chart) {
    const { kind, ts, columns, ghost, holes } = this.data;
    drawHoles(chart, holes);
    if (kind === "bars") drawBars(chart, this.data);
    else {
      for (const each of ghost ?? []) drawGhostLine(chart, each);
      for (const each of columns) if (each.high) drawBand(chart, ts, each);
    }
    zeroLine(chart);
  }

  drawAbove(chart) {
    const { kind, ts, columns, marks } = this.data;
    if (kind === "lines") for (const each of columns) drawDots(chart, ts, each);
    drawMarks(chart, marks);
  }

  point(chart) {
    const row = chart.cursor.left >= 0 ? chart.cursor.idx : null;
    this.row = row;
    const slot = this.data.slots?.[row];
    this.shade.hidden = !slot;
    if (slot) {
      const left = chart.valToPos(slot.from, "x");
      this.shade.style.transform = `translateX(${left}px)`;
      this.shade.style.width = `${chart.valToPos(slot.to, "x") - left}px`;
    }
    this.listeners.onCursor(row ?? null);
  }

  select(chart) {
    const { left, width } = chart.select;
    chart.setSelect(NOTHING, false);
    if (width < LEAST_SELECT_PX) return;
    const [from, to] = [left, left + width].map((at) => chart.posToVal(at, "x"));
    const slots = this.data.slots?.filter((slot) => slot.to > from && slot.from < to);
    if (slots?.length) this.listeners.onZoom(slots[0].from, slots.at(-1).to);
    else this.listeners.onZoom(from, to);
  }

  /** Draw a range of what is there already; null: the whole of it. */
  stretch(view) {
    this.view = view;
    const [min, max] = this.shown;
    this.chart.setScale("x", { min, max });
  }

  /** A click on a bar opens its period; a finger has to touch a bar again that it has chosen. */
  listen() {
    const { over } = this.chart;
    selectByTouch(this.chart);
    listenToPinch(over, () => this.shown, {
      move: (range) => this.stretch(range),
      end: () => { if (this.view) this.listeners.onStretch(...this.view); },
      cancel: () => this.stretch(null),
    });
    over.append(this.shade);
    let touched = null;
    let pressed = 0;
    over.addEventListener("pointerdown", (event) => { pressed = event.clientX; });
    over.addEventListener("click", (event) => {
      const slot = this.data.slots?.[this.row];
      if (!slot || Math.abs(event.clientX - pressed) > LEAST_SELECT_PX) return;
      if (event.pointerType !== "touch" || touched === slot) this.listeners.onPick(slot);
      touched = slot;
    });
  }

  /** The time at the cursor; null where it is elsewhere. */
  get cursor_s() {
    const { left } = this.chart?.cursor ?? {};
    return left >= 0 ? this.chart.posToVal(left, "x") : null;
  }
}
