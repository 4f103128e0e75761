// Times of the site as a person enters them, such as "2026-11-22" or "2026-11-22T14:30", and epoch
// seconds: by the clock of the site, wherever the browser is.

import { ZONE } from "./catalogue.js";

const DAY_MS = 86_400_000;
const wall = new Intl.DateTimeFormat("sv-SE", { // its form is that of ISO 8601
  timeZone: ZONE, dateStyle: "short", timeStyle: "medium",
});

/** The site's clock at epoch seconds, as a field for date and time holds it. */
export const entered = (at_s) => wall.format(new Date(at_s * 1000)).replace(" ", "T").slice(0, 16);

/** The site's day of epoch seconds. */
export const dayOf = (at_s) => entered(at_s).slice(0, 10);

const asUtc_s = (text) => Date.parse(text.length === 10 ? `${text}T00:00Z` : `${text}Z`) / 1000;

/** Epoch seconds of a time by the site's clock; NaN where the text is none. */
export function epoch(text) {
  const meant_s = asUtc_s(text);
  if (!Number.isFinite(meant_s)) return NaN;
  const ahead_s = (at_s) => asUtc_s(entered(at_s)) - 60 * Math.floor(at_s / 60);
  const near_s = meant_s - ahead_s(meant_s);
  return meant_s - ahead_s(near_s); // the clocks may change between the two
}

/** The day that is some days later, or earlier. */
export const daysAfter = (day, days) =>
  new Date(Date.parse(`${day}T00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);

/** The first day of the month that is some months after that of a day. */
export function monthAfter(day, months) {
  const [year, month] = day.split("-").map(Number);
  return new Date(Date.UTC(year, month - 1 + months, 1)).toISOString().slice(0, 10);
}

/** Epoch seconds as REST takes them. */
export const iso = (at_s) => new Date(at_s * 1000).toISOString();
