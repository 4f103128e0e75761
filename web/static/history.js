// The history chart: an hour, a day or a week, up to now or as dragged over. The address of the
// page says what is shown, so that it can be kept, sent and gone back to.

import { lineChart } from "./chart.js";
import { now_s, series } from "./live.js";
import { withGaps } from "./meters.js";
import { PHASES, catalogue, localTime, say } from "./show.js";

const SPANS_S = { hour: 3600, day: 86_400, week: 7 * 86_400 };
const MOST_POINTS = 600;
const SHORTEST_S = 30;
const SHOWS = ["power", "voltage", "current"];

/** The lines that show a quantity: the total where it means something, and the phases. */
function linesOf(quantity, meter) {
  const phases = PHASES.filter((phase) => meter.has(`${quantity}_${phase}`));
  const lines = phases.map((phase) => ({
    quantity: `${quantity}_${phase}`, phase, label: phase.toUpperCase(),
  }));
  const total = { quantity, label: phases.length ? "Total" : catalogue.get(quantity).label };
  return quantity === "power" || !phases.length ? [total, ...lines] : lines;
}

export class History {
  constructor(meter) {
    this.meter = meter;
    this.box = document.getElementById("history");
    this.asked = 0;
    this.built = "";
    this.read();
    for (const button of document.querySelectorAll("[data-range]")) {
      button.addEventListener("click", () => this.go({ range: button.dataset.range, from: null }));
    }
    for (const button of document.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => this.go({ show: button.dataset.show }));
    }
    this.press("earlier", () => this.move(-1));
    this.press("later", () => this.move(1));
    this.press("reset", () => this.go({ from: null }));
    addEventListener("popstate", () => { this.read(); this.refresh(); });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.from !== null) this.go({ from: null });
    });
    setInterval(() => { if (!document.hidden && this.from === null) this.refresh(); }, 20_000);
  }

  press(id, action) {
    document.getElementById(id).addEventListener("click", action);
  }

  /** Take from the address what to show; anything odd in it is the default. */
  read() {
    const query = new URLSearchParams(location.search);
    const [from, to] = ["from", "to"].map((name) => Number(query.get(name) ?? NaN));
    this.range = query.get("range") in SPANS_S ? query.get("range") : "hour";
    this.show = SHOWS.includes(query.get("show")) ? query.get("show") : "power";
    const fixed = from > 0 && to - from >= SHORTEST_S;
    [this.from, this.to] = fixed ? [from, to] : [null, null];
  }

  /** Show something else, and write it into the address. `from: null` means up to now. */
  go(change) {
    Object.assign(this, change);
    const query = new URLSearchParams({ range: this.range });
    if (this.show !== "power") query.set("show", this.show);
    if (this.from !== null) {
      query.set("from", Math.round(this.from));
      query.set("to", Math.round(this.to));
    }
    history.pushState(null, "", `?${query}`);
    this.refresh();
  }

  period() {
    if (this.from !== null) return [this.from, this.to];
    const now = now_s();
    return [now - SPANS_S[this.range], now];
  }

  move(direction) {
    const [from, to] = this.period();
    const step = direction * (to - from);
    if (to + step >= now_s()) this.go({ from: null });
    else this.go({ from: from + step, to: to + step });
  }

  zoom(from, to) {
    if (from === null) this.go({ from: null });
    else if (to - from >= SHORTEST_S) this.go({ from, to });
  }

  async refresh() {
    this.showControls();
    const lines = linesOf(this.show, this.meter);
    if (!lines.some(({ quantity }) => this.meter.has(quantity))) return this.showEmpty(true);
    const asked = ++this.asked;
    const [from, to] = this.period();
    const names = lines.map(({ quantity }) => quantity);
    const points = Math.min(MOST_POINTS, Math.ceil(this.box.clientWidth / 2));
    let columns;
    try {
      columns = await series(this.meter.id, names, from, to, points);
    } catch {
      return; // the page's own refresh says what is wrong
    }
    if (asked !== this.asked) return;
    const gap_s = Math.max(this.meter.gap_s, 2.1 * ((to - from) / points));
    const drawn = withGaps([columns.ts, ...names.map((name) => columns[name])], gap_s);
    this.chartOf(lines).update(drawn, from, to);
    this.showEmpty(columns.ts.length === 0);
  }

  chartOf(lines) {
    const built = lines.map(({ quantity }) => quantity).join();
    if (built !== this.built) {
      this.built = built;
      this.chart?.destroy();
      this.chart = lineChart(this.box, document.getElementById("history-legend"), {
        lines, fromZero: this.show !== "voltage", onZoom: (from, to) => this.zoom(from, to),
      });
    }
    return this.chart;
  }

  showEmpty(isEmpty) {
    document.getElementById("history-empty").hidden = !isEmpty;
  }

  showControls() {
    for (const [key, chosen] of [["range", this.range], ["show", this.show]]) {
      for (const button of document.querySelectorAll(`[data-${key}]`)) {
        const here = button.dataset[key] === chosen && (key === "show" || this.from === null);
        button.setAttribute("aria-pressed", String(here));
      }
    }
    document.getElementById("later").disabled = this.from === null;
    document.getElementById("reset").disabled = this.from === null;
    const [from, to] = this.period();
    const words = this.from === null ? `Last ${this.range}` : `${localTime(from)} to ${localTime(to)}`;
    say(document.getElementById("period"), this.from === null ? "" : words);
    this.box.setAttribute("aria-label", `${this.show}, ${words}`);
  }
}
