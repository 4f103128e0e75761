// Dragging over a chart with a finger: sideways selects a period, up and down scrolls the page.

const LEAST_PX = 12;

/** Let a finger select on a uPlot chart, which itself knows the mouse alone. */
export function selectByTouch(chart) {
  const { over } = chart;
  let start = null;
  over.style.touchAction = "pan-y";
  const place = (event) => event.clientX - over.getBoundingClientRect().left;
  const clear = () => {
    start = null;
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && event.isPrimary) start = place(event);
  });
  over.addEventListener("pointermove", (event) => {
    if (start === null || event.pointerType !== "touch") return;
    const [left, right] = [start, place(event)].sort((a, b) => a - b);
    chart.setCursor({ left: place(event), top: 10 });
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
