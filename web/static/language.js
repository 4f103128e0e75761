// The texts of the page in the reader's language; the server sends those that are not English.

const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");

/** An English text in the reader's language; `{name}` in it becomes `values.name`. */
export const t = (text, values = {}) =>
  (texts[text] ?? text).replace(/\{(\w+)\}/g, (_whole, name) => values[name]);
