// The history chart: the last hour, day or week, or a period that a person dragged over. The page's
// address holds what is shown, so that it can be kept as a bookmark and sent.

import { element, family, label, localTime, phaseOf, setText } from "./catalogue.js";
import { lineChart } from "./chart.js";
import { t } from "./language.js";
import { BASE, now_s, series } from "./live.js";
import { withGaps } from "./meter_state.js";

const SPANS_S = { hour: 3600, day: 86_400, week: 7 * 86_400 };
const MOST_POINTS = 600;
const SHORTEST_S = 30;
const DEFAULT = "power";

/** The quantities that the page has a button for. */
const shows = [...document.querySelectorAll("[data-show]")].map((button) => button.dataset.show);

/** The lines that show a quantity: its phases where there are any; of power the total, too. */
function linesOf(quantity, meter) {
  const phases = family(quantity).filter((name) => phaseOf(name) && meter.has(name));
  return quantity === DEFAULT || !phases.length ? [quantity, ...phases] : phases;
}

/** The median distance of times in seconds. */
function usualDistance(ts) {
  const apart = ts.slice(1).map((at, row) => at - ts[row]).sort((a, b) => a - b);
  return apart[Math.floor(apart.length / 2)] ?? 0;
}

export class History {
  constructor(meter) {
    this.meter = meter;
    this.box = document.getElementById("history");
    this.requests = 0;
    this.built = "";
    this.read();
    const all = element("a", { href: `${BASE}/view/history?of=${encodeURIComponent(meter.id)}` });
    all.append(t("All periods, with costs"));
    all.style.marginRight = "auto";
    document.getElementById("history-title").after(all);
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

  /** Read from the address what to show; the default replaces anything invalid. */
  read() {
    const query = new URLSearchParams(location.search);
    const [from, to] = ["from", "to"].map((name) => Number(query.get(name) ?? NaN));
    this.range = query.get("range") in SPANS_S ? query.get("range") : "hour";
    this.show = shows.includes(query.get("show")) ? query.get("show") : DEFAULT;
    const fixed = from > 0 && to - from >= SHORTEST_S;
    [this.from, this.to] = fixed ? [from, to] : [null, null];
  }

  /** Show something else and write it into the address; `from: null` means up to now. */
  go(change) {
    Object.assign(this, change);
    const query = new URLSearchParams({ range: this.range });
    if (this.show !== DEFAULT) query.set("show", this.show);
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
    const names = linesOf(this.show, this.meter);
    if (!names.some((name) => this.meter.has(name))) return this.showEmpty(true);
    const request = ++this.requests;
    const [from, to] = this.period();
    const points = Math.min(MOST_POINTS, Math.ceil(this.box.clientWidth / 2));
    let columns;
    try {
      columns = await series(this.meter.id, names, from, to, points);
    } catch {
      return; // the page's own refresh shows the error
    }
    if (request !== this.requests) return; // a later one is on its way
    // Points are as far apart as what is kept of that time: hours, where the quarters are gone.
    const gap_s = Math.max(this.meter.gap_s, 2.5 * usualDistance(columns.ts), 2.1 * ((to - from) / points));
    const drawn = withGaps([columns.ts, ...names.map((name) => columns[name])], gap_s);
    this.chartOf(names).update(drawn, from, to);
    this.showEmpty(columns.ts.length === 0);
  }

  chartOf(names) {
    if (names.join() !== this.built) {
      this.built = names.join();
      this.chart?.destroy();
      const legend = document.getElementById("history-legend");
      const onZoom = (from, to) => this.zoom(from, to);
      this.chart = lineChart(this.box, legend, this.show, names, { onZoom });
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
    const period = this.from === null ? `Last ${this.range}` : `${localTime(from)} to ${localTime(to)}`;
    setText(document.getElementById("period"), this.from === null ? "" : period);
    this.box.setAttribute("aria-label", `${label(this.show)}, ${period}`);
  }
}
