// What the address of the page of readings asks for: meter, period, quantities and part of the list.

import { isKnown, names } from "./catalogue.js";
import { BASE, now_s } from "./live.js";
import { daysAfter, epoch, iso } from "./site_time.js";

const MOST = 10_000;
const USUAL = ["voltage", "current", "power", "energy"];
const PART = /_(l\d|import|export)$/;

/** From and to of a period with a name, by the day of today. */
export const PERIODS = {
  newest: () => [null, null],
  today: (today) => [`${today}T00:00`, null],
  yesterday: (today) => [`${daysAfter(today, -1)}T00:00`, `${today}T00:00`],
  week: (today) => [`${daysAfter(today, -6)}T00:00`, null],
};

export const asked = () => new URLSearchParams(location.search);

/** The address of this page with some parameters changed; null takes one away. */
export function addressWith(changes) {
  const found = asked();
  for (const [name, value] of Object.entries(changes)) {
    if (value) found.set(name, value);
    else found.delete(name);
  }
  return `${location.pathname}${found.size ? "?" : ""}${found}`;
}

/** The family of a quantity by which columns are grouped. */
export function headOf(name) {
  const base = name.replace(PART, "");
  return isKnown(base) ? base : name;
}

/** The quantities of these readings, in the catalogue's order, and those in the address. */
export function offered(readings) {
  const sent = new Set(readings.flatMap((reading) => Object.keys(reading)));
  const listed = asked().get("show")?.split(",") ?? [];
  return names.filter((name) => sent.has(name) || listed.includes(name));
}

/** The quantities to show: those in the address, else the usual ones. */
export function shown(readings) {
  const listed = asked().get("show");
  if (listed !== null) return names.filter((name) => listed.split(",").includes(name));
  const all = offered(readings);
  const usual = all.filter((name) => USUAL.includes(headOf(name))
    && !(name === "energy" && all.includes("energy_import")));
  return usual.length ? usual : all;
}

/** The query of REST for the readings with these quantities; without any with all of them. */
export function query(fields) {
  const found = new URLSearchParams();
  if (asked().get("meter")) found.set("meter", asked().get("meter"));
  for (const name of ["from", "to"]) {
    const at_s = epoch(asked().get(name) ?? "");
    if (Number.isFinite(at_s)) found.set(name, iso(at_s));
  }
  if (fields.length) found.set("fields", fields.join(","));
  return found;
}

/** The address of a file with all these readings; without a period there are only the newest ones. */
export function csvAddress(fields) {
  const wanted = query(fields);
  if (!wanted.has("from") && !wanted.has("to")) wanted.set("limit", MOST);
  else if (!wanted.has("from")) wanted.set("from", iso(0));
  else if (!wanted.has("to")) wanted.set("to", iso(Math.ceil(now_s())));
  wanted.set("format", "csv");
  return `${BASE}/readings/?${wanted}`;
}
