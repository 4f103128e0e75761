// What the history's charts draw by themselves: bars, the period before as a ghost, bands between the
// lowest and the highest, times without readings, and marks. All of it in the pixels of the canvas.

import { FONT, colour, faint } from "./chart.js";

const HATCH_PX = 7;
const RADIUS_PX = 3;
/** Of a bar that is no measurement of its own time alone. */
const LATE_ALPHA = 0.5;
/** Marks that have a line each; more have their tips alone. */
const MOST_LINES = 12;

/** Draw inside the plot alone, and leave the canvas as it was. */
function inside(chart, draw) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw(ctx, bbox, globalThis.devicePixelRatio || 1);
  ctx.restore();
}

const x = (chart, at) => chart.valToPos(at, "x", true);
const y = (chart, value) => chart.valToPos(value, "y", true);

/** Draw a bar from `base` on; the last one of a stack has round corners. */
function bar(chart, ctx, left, width, base, value, ratio, isLast = true) {
  const [a, b] = [y(chart, base), y(chart, base + value)];
  if (!(Math.abs(a - b) > 0)) return;
  const radius = isLast ? Math.min(RADIUS_PX * ratio, width / 4, Math.abs(a - b)) : 0;
  const corners = value > 0 ? [radius, radius, 0, 0] : [0, 0, radius, radius];
  ctx.beginPath();
  ctx.roundRect(left, Math.min(a, b), width, Math.max(Math.abs(a - b), ratio), corners);
  ctx.fill();
}

/** Bars of each slot of time: those of a group beside one another, those of a stack on one another. */
export function drawBars(chart, { slots, columns, ghost, late }) {
  const groups = [...new Set(columns.map(({ group }) => group))];
  inside(chart, (ctx, _box, ratio) => slots.forEach((slot, row) => {
    const [left, right] = [x(chart, slot.from), x(chart, slot.to)];
    const room = right - left;
    const gap = Math.min(room * 0.1, 8 * ratio);
    ctx.fillStyle = faint(colour("quiet"), 0.26);
    for (const { values } of ghost ?? []) bar(chart, ctx, left + gap, room - 2 * gap, 0, values[row] ?? 0, ratio);
    const inset = ghost ? Math.min(room * 0.24, 18 * ratio) : gap * 1.4;
    const width = Math.max((room - 2 * inset) / groups.length, ratio);
    const bases = new Map();
    const stackOf = ({ group, values }) => (values[row] ? `${group}${values[row] < 0}` : "");
    const stacks = columns.map(stackOf);
    for (const [place, { group, values, paint, alpha }] of columns.entries()) {
      const value = values[row] ?? 0;
      const key = stacks[place];
      ctx.fillStyle = faint(colour(paint), late.includes(slot) ? LATE_ALPHA : alpha ?? 1);
      const at = left + inset + groups.indexOf(group) * width;
      bar(chart, ctx, at, width - (groups.length > 1 ? ratio : 0), bases.get(key) ?? 0, value, ratio,
        stacks.lastIndexOf(key) === place);
      bases.set(key, (bases.get(key) ?? 0) + value);
    }
  }));
}

/** The area between the lowest and the highest values of a line. */
export function drawBand(chart, ts, { low, high, paint }) {
  inside(chart, (ctx) => {
    ctx.fillStyle = faint(colour(paint), 0.2);
    for (const [first, last] of runs(high)) {
      ctx.beginPath();
      for (let row = first; row <= last; row += 1) ctx.lineTo(x(chart, ts[row]), y(chart, high[row]));
      for (let row = last; row >= first; row -= 1) ctx.lineTo(x(chart, ts[row]), y(chart, low[row]));
      ctx.fill();
    }
  });
}

/** A line that is no series of the chart: the period before. */
export function drawGhostLine(chart, { ts, values }) {
  inside(chart, (ctx, _box, ratio) => {
    ctx.strokeStyle = faint(colour("quiet"), 0.75);
    ctx.lineWidth = 1.25 * ratio;
    ctx.setLineDash([4 * ratio, 4 * ratio]);
    for (const [first, last] of runs(values)) {
      ctx.beginPath();
      for (let row = first; row <= last; row += 1) ctx.lineTo(x(chart, ts[row]), y(chart, values[row]));
      ctx.stroke();
    }
  });
}

/** A dot for each value without a neighbour, which a line would leave out. */
export function drawDots(chart, ts, { values, paint }) {
  inside(chart, (ctx, _box, ratio) => {
    ctx.fillStyle = colour(paint);
    for (const [first, last] of runs(values)) {
      if (first !== last) continue;
      ctx.beginPath();
      ctx.arc(x(chart, ts[first]), y(chart, values[first]), 3 * ratio, 0, 2 * Math.PI);
      ctx.fill();
    }
  });
}

/** The first and last row of each run of values, which null ends; undefined is another line's time. */
function* runs(values) {
  let first = null, last = null;
  for (let row = 0; row < values.length; row += 1) {
    if (typeof values[row] === "number") {
      first ??= row;
      last = row;
    } else if (values[row] === null && first !== null) {
      yield [first, last];
      first = null;
    }
  }
  if (first !== null) yield [first, last];
}

/** Hatch the times without readings, each with a word where it has room. */
export function drawHoles(chart, holes) {
  inside(chart, (ctx, box, ratio) => {
    ctx.font = FONT.replace(/\d+px/, (size) => `${parseInt(size, 10) * ratio}px`);
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    for (const hole of holes) {
      const left = Math.max(x(chart, hole.from), box.left);
      const right = Math.min(x(chart, hole.to), box.left + box.width);
      if (right - left < ratio) continue;
      hatch(ctx, left, right, box, ratio);
      const room = ctx.measureText(hole.text).width + 16 * ratio;
      if (room > right - left) continue;
      const [middle, height] = [(left + right) / 2, box.top + box.height / 2];
      ctx.fillStyle = colour("panel");
      ctx.fillRect(middle - room / 2, height - 11 * ratio, room, 22 * ratio);
      ctx.fillStyle = colour("quiet");
      ctx.fillText(hole.text, middle, height);
    }
  });
}

function hatch(ctx, left, right, box, ratio) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, box.top, right - left, box.height);
  ctx.clip();
  ctx.strokeStyle = faint(colour("quiet"), 0.3);
  ctx.lineWidth = ratio;
  ctx.beginPath();
  const step = HATCH_PX * ratio;
  for (let at = Math.floor((left - box.height) / step) * step; at < right; at += step) {
    ctx.moveTo(at, box.top + box.height);
    ctx.lineTo(at + box.height, box.top);
  }
  ctx.stroke();
  ctx.restore();
}

/** A quiet line for each moment at which something happened, such as a meter that was replaced. */
export function drawMarks(chart, marks) {
  inside(chart, (ctx, box, ratio) => {
    ctx.strokeStyle = faint(colour("quiet"), 0.8);
    ctx.fillStyle = colour("quiet");
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    for (const { kind, from, to } of marks) {
      if (kind === "void") continue; // hatched
      const at = Math.round(x(chart, (from + to) / 2)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(at, box.top);
      if (marks.length <= MOST_LINES) ctx.lineTo(at, box.top + box.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(at - 5 * ratio, box.top);
      ctx.lineTo(at + 5 * ratio, box.top);
      ctx.lineTo(at, box.top + 7 * ratio);
      ctx.fill();
    }
  });
}
