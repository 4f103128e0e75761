// A meter on the overview: a card, or past eight meters a row.

import { MISSING, PHASES, element, format, label, names, setText, showValues } from "./catalogue.js";
import { t } from "./language.js";
import { spark } from "./line.js";
import { BASE } from "./live.js";
import { Meter, about, showDirection, showState } from "./meter_state.js";
import { PhaseBar } from "./phases.js";
import { placeOf, todayOf } from "./site.js";

/** What stands large on the card of a meter: the first of these that it sends. */
const FIRST = ["power", "energy_import", "energy", "energy_export", "current", "voltage", ...names];
const ENERGY = "energy_import";

const figure = (quantity, ...more) => element("p", { class: "power" },
  element("span", quantity ? { "data-quantity": quantity } : {}), element("span", { class: "unit" }),
  ...more);

export class Card {
  constructor(id) {
    const href = `${BASE}/meter/${encodeURIComponent(id)}${location.search}`;
    this.meter = new Meter(id, ["power"]);
    this.link = element("a", { href });
    this.about = element("p", { class: "about" });
    this.direction = element("span", { class: "direction" });
    this.figure = figure("power", this.direction);
    this.today = element("b");
    this.shares = element("div", { class: "phase-bar", role: "img" });
    this.phase = element("p", { class: "caption most" });
    this.bar = new PhaseBar(this.shares, this.phase);
    this.chart = element("div", { class: "spark", role: "img" });
    this.span = element("span");
    this.extent = element("span");
    this.caption = element("p", { class: "caption extent" }, this.span, this.extent);
    this.root = element("li", { class: "card", "data-meter": id }, ...this.parts());
    this.draw = null;
    Object.assign(this, { seen: false, seeded: false, fresh: true });
  }

  parts() {
    const state = element("span", { class: "state" }, element("span", { class: "state-word" }));
    return [
      element("header", {}, element("h2", {}, this.link), state, this.about, element("time")),
      this.figure, element("p", { class: "today" }, t("Today"), this.today),
      element("div", { class: "shares" }, this.shares, this.phase), this.chart, this.caption,
    ];
  }

  show(now) {
    const { meter } = this;
    const main = FIRST.find((name) => meter.has(name)) ?? "power";
    this.figure.firstChild.dataset.quantity = main;
    setText(this.link, meter.name);
    this.link.title = meter.name;
    setText(this.about, about(meter, ...placeOf(meter.id)));
    setText(this.today, todayOf(meter.id) || MISSING);
    showState(this.root, meter, now);
    showValues(this.root, meter, now);
    showDirection(this.direction, meter.state(now) === "online" ? meter.value("power") : null);
    this.bar.show(PHASES.map((phase) => [phase, meter.value(`power_${phase}`)]),
      (value) => format("power", value, undefined, meter.digits("power")),
      (values) => t("most on {phase}: {power}", values));
    this.chart.hidden = main !== "power";
    this.caption.hidden = main !== "power";
  }

  paint(now) {
    const { meter } = this;
    if (this.chart.hidden) return;
    this.draw ??= spark(this.chart);
    const minutes = meter.minutes(now), from = now - 60 * minutes;
    const columns = meter.trace.columns(from, meter.gap_s);
    this.draw(columns, from, now);
    const powers = columns[1].filter((value) => typeof value === "number");
    const span = t("last {minutes} min", { minutes });
    const ends = [Math.min(...powers), Math.max(...powers)]
      .map((each) => format("power", each, undefined, meter.digits("power")));
    const [least, most] = ends;
    const extent = !powers.length ? t("no reading") : least === most ? least
      : t("{least} to {most}", { least, most });
    setText(this.span, span);
    setText(this.extent, extent);
    this.chart.setAttribute("aria-label", `${label("power")}, ${span}: ${extent}`);
  }
}

/** What no meter below another one measures. */
export class Rest {
  constructor(node) {
    this.figure = figure(null);
    this.today = element("b");
    this.root = element("li", { class: "card rest", "data-rest": node.meter_id },
      element("header", {}, element("h2", {}, t("Not measured")),
        element("p", { class: "about" }, t("in {name}", { name: node.name }))),
      this.figure, element("p", { class: "today" }, t("Today"), this.today));
  }

  show({ text, unit: shown }, kwh) {
    setText(this.figure.children[0], text);
    setText(this.figure.children[1], shown);
    setText(this.today, format(ENERGY, kwh ?? null));
  }
}
