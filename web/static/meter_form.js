// The settings of a meter: a list for a viewer, a form for an editor. An empty field leaves the
// setting to the meter itself, whose own is shown in the field's place.

import { element, setText } from "./catalogue.js";
import { showWrong } from "./field_errors.js";
import { t } from "./language.js";
import { request } from "./live.js";
import { section, terms } from "./meter_facts.js";

export const ROLES = {
  grid: t("Grid"), production: t("Production"), storage: t("Storage"), consumer: t("Consumer"),
};
const BILLING = {
  per_phase: t("The meter’s own counters"), netted: t("Netted across the phases"),
};
const HINTS = {
  role: t("What is behind the meter. Without a role it counts as a consumer."),
  parent: t("The meter that also measures what this one measures."),
  billing: t("Which counters are the bill."),
  serial: t("For statements."),
};

const nameIn = (rows, id) => rows.find((row) => row.meter_id === id)?.name ?? id;
const titled = ({ meter_id: id, name }) => (name === id ? id : `${name} (${id})`);

/** What a viewer sees of the settings. */
export function settingsList(row, others) {
  return section(t("Settings"), terms([
    [t("Name"), row.name],
    [t("Role"), row.role ? ROLES[row.role] : t("not set")],
    [t("Part of"), row.parent ? nameIn(others, row.parent) : t("not set")],
    [t("Billing"), BILLING[row.billing]],
  ]));
}

function text(name, label, person, info) {
  return field(name, label, element("input", {
    name, value: person[name] ?? "", placeholder: info[name] ?? t("not set"), autocomplete: "off",
  }));
}

function choice(name, label, options, person, info) {
  const own = info[name];
  const first = own ? t("From the meter: {value}", { value: options.get(own) ?? own }) : t("not set");
  const select = element("select", { name }, element("option", { value: "" }, first),
    ...[...options].map(([value, shown]) => element("option", { value }, shown)));
  const value = person[name] ?? "";
  if (value && !options.has(value)) select.append(element("option", { value }, value));
  select.value = value;
  return field(name, label, select);
}

function field(name, label, control) {
  const hint = HINTS[name] ? [element("span", { class: "hint" }, HINTS[name])] : [];
  const wrong = element("span", { class: "wrong", "data-wrong": name, role: "alert" });
  return element("label", { class: "field" }, label, control, wrong, ...hint);
}

/** What REST says about a field, in words for a person. */
function plainly({ msg }) {
  const path = /leads back to the meter itself \((.+)\)/.exec(msg)?.[1];
  if (path) return t("The meter would be part of itself: {path}", { path });
  if (/has no history/.test(msg)) return t("There is no such meter with readings.");
  const most = /at most (\d+) characters/.exec(msg)?.[1];
  if (most) return t("At most {count} characters.", { count: most });
  return msg;
}

const asked = (form) => Object.fromEntries([...form.elements]
  .filter(({ name }) => name).map(({ name, value }) => [name, value.trim() || null]));

/** The form of the settings; `saved` is called when they are stored. */
export function settingsForm(found, row, others, saved) {
  const { person, info } = found.settings;
  const roles = new Map(Object.entries(ROLES));
  const billing = new Map(Object.entries(BILLING));
  const parents = new Map(others.map((other) => [other.meter_id, titled(other)]));
  const button = element("button", { type: "submit", class: "button main" }, t("Save"));
  const said = element("p", { class: "about", role: "status" });
  const form = element("form", { class: "settings", novalidate: "" },
    text("name", t("Name"), person, { name: info.name ?? found.meter_id }),
    choice("role", t("Role"), roles, person, info),
    choice("parent", t("Part of"), parents, person, info),
    choice("billing", t("Billing"), billing, person, info),
    text("serial", t("Serial number"), person, { serial: info.serial ?? found.serial }),
    element("div", { class: "send" }, button, said));
  const before = asked(form);

  form.addEventListener("input", () => {
    form.dataset.begun = "true";
    setText(said, "");
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const now = asked(form);
    const changes = Object.fromEntries(
      Object.entries(now).filter(([name, value]) => value !== before[name]));
    showWrong(form, [], plainly);
    if (!Object.keys(changes).length) {
      setText(said, t("Nothing to save: no field has changed."));
      return;
    }
    button.disabled = true;
    setText(said, await send(form, found.meter_id, changes));
    button.disabled = false;
    if (form.dataset.begun !== "true") {
      Object.assign(before, now);
      await saved();
    }
  });
  return section(t("Settings"), form);
}

/** Send changed settings; return what became of them, and show at each field what is wrong. */
async function send(form, meterId, changes) {
  try {
    const response = await request(`/meters/${encodeURIComponent(meterId)}`, {
      method: "PATCH", body: JSON.stringify(changes), headers: { "Content-Type": "application/json" },
    });
    form.dataset.begun = "false";
    return response.status === 202
      ? t("Sent, but not stored yet: check that the recorder runs.") : t("Saved.");
  } catch (error) {
    showWrong(form, error.problems ?? [], plainly);
    if (error.problems?.length) return t("Not saved.");
    return t("Not saved: {why}", { why: error.message });
  }
}
