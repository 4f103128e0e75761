// Fingers on a chart: one that moves sideways selects a period, two stretch and move what is shown. Up
// and down scrolls the page.

const LEAST_PX = 12;
/** Fingers that are closer than this move the chart, and do not stretch it. */
const LEAST_APART_PX = 32;
/** By how much the wheel with Ctrl, which is a pinch on a touchpad, stretches; and when it has ended. */
const WHEEL = 0.01;
const WHEEL_MS = 250;

const placeIn = (over, event) => event.clientX - over.getBoundingClientRect().left;

/** Let a finger select on a uPlot chart, which itself knows the mouse alone. */
export function selectByTouch(chart) {
  const { over } = chart;
  let start = null;
  over.style.touchAction = "pan-y";
  const clear = () => {
    start = null;
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    if (event.isPrimary) start = placeIn(over, event);
    else clear(); // a second finger: they stretch
  });
  over.addEventListener("pointermove", (event) => {
    if (start === null || event.pointerType !== "touch") return;
    const [left, right] = [start, placeIn(over, event)].sort((a, b) => a - b);
    chart.setCursor({ left: placeIn(over, event), top: 10 });
    if (right - left < LEAST_PX) return;
    chart.setSelect({ left, width: right - left, top: 0, height: over.clientHeight }, false);
  });
  over.addEventListener("pointerup", () => {
    if (start === null) return;
    const { left, width } = chart.select;
    start = null;
    if (width >= LEAST_PX) chart.setSelect({ left, width, top: 0, height: over.clientHeight });
  });
  over.addEventListener("pointercancel", clear);
}

/** The range of which two times stay below two fingers; close fingers only move it. */
function stretched([from, to], width, [a, b], [c, d]) {
  const [apart, now] = [b - a, d - c];
  const isMoved = apart < LEAST_APART_PX;
  const length = isMoved ? to - from : (to - from) * (apart / Math.max(now, LEAST_APART_PX / 2));
  const [before, after] = isMoved ? [(a + b) / 2, (c + d) / 2] : [a, c];
  const begin = from + (before / width) * (to - from) - (after / width) * length;
  return [begin, begin + length];
}

/**
 * Let two fingers stretch and move the range of a chart: `move(range)` shows it, `end()` keeps what was
 * shown last, `cancel()` does not: the browser took the fingers for a scroll.
 */
export function listenToPinch(over, rangeOf, { move, end, cancel }) {
  const fingers = new Map();
  const places = () => [...fingers.values()].sort((a, b) => a - b);
  let held = null;
  const leave = (done) => (event) => {
    fingers.delete(event.pointerId);
    if (held) done();
    held = null;
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    if (event.isPrimary) fingers.clear(); // an end of another touch may have been lost
    fingers.set(event.pointerId, placeIn(over, event));
    if (fingers.size === 2) held = { range: rangeOf(), places: places() };
  });
  over.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, placeIn(over, event));
    if (held) move(stretched(held.range, over.clientWidth, held.places, places()));
  });
  over.addEventListener("pointerup", leave(end));
  over.addEventListener("pointercancel", leave(cancel));

  let timer = null;
  over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    const [from, to] = rangeOf();
    const at = from + (placeIn(over, event) / over.clientWidth) * (to - from);
    const factor = Math.exp(event.deltaY * WHEEL);
    move([at - (at - from) * factor, at + (to - at) * factor]);
    clearTimeout(timer);
    timer = setTimeout(end, WHEEL_MS);
  }, { passive: false });
}
