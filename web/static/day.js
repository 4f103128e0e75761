// The chart of the house's last 24 hours, and its table by the hour.

import { clock, element, format, localTime, setText } from "./catalogue.js";
import { t } from "./language.js";
import { HoursChart } from "./line.js";
import { getJson, now_s } from "./live.js";
import { siteNow } from "./site.js";

const DAY_S = 86_400;
const EVERY_S = 300;
const POINTS = 480;
const LEAST_S = 3600;
const AN_HOUR = POINTS / 24;

let drawn_s = -Infinity;
let chart = null;

const mean = (values) => {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((a, b) => a + b) / known.length : null;
};

function showTable(times, powers) {
  const hours = times.filter((_, index) => index % AN_HOUR === 0);
  document.getElementById("day-table").replaceChildren(...hours.map((at_s, hour) => element("tr", {},
    element("th", { scope: "row" }, clock(at_s)),
    element("td", {}, format("power", mean(powers.slice(hour * AN_HOUR, (hour + 1) * AN_HOUR)))))));
}

/** Draw the power that the house shows as its own, where the last drawing is old. */
export async function showDay() {
  const [now, site, section] = [now_s(), siteNow(), document.getElementById("day")];
  if (!site?.measured_by && !chart) section.hidden = true; // it was there, so that nothing moves down
  if (!site?.measured_by || now - drawn_s < EVERY_S) return;
  drawn_s = now;
  const iso = (at_s) => new Date(at_s * 1000).toISOString();
  const query = new URLSearchParams({ from: iso(now - DAY_S), to: iso(now), points: POINTS });
  const columns = await getJson(`/site/series?${query}`);
  const powers = columns[site.measured_by === "grid" ? "grid" : "consumption"];
  const known = powers.filter((power) => power !== null);
  section.hidden = !known.length;
  if (!known.length) return;
  const box = document.getElementById("day-chart");
  chart ??= new HoursChart(box, document.getElementById("day-legend"));
  const begin = powers.findIndex((power) => power !== null);
  const from = Math.min(columns.ts[begin], now - LEAST_S);
  chart.update(columns.ts.slice(begin), powers.slice(begin), from, now);
  setText(document.getElementById("day-title"),
    begin ? t("Since {time}", { time: localTime(from) }) : t("Last 24 hours"));
  const [least, most] = [Math.min, Math.max].map((of) => format("power", of(...known), 1000));
  box.setAttribute("aria-label", least === most ? t("Last 24 hours: {least}", { least })
    : t("Last 24 hours: {least} to {most}", { least, most }));
  box.removeAttribute("aria-labelledby");
  showTable(columns.ts, powers);
}
