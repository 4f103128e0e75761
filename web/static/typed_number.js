// Numbers as people type them.

const locale = new Intl.NumberFormat().formatToParts(12345.6);
const part = (type) => locale.find((each) => each.type === type)?.value ?? "";
const [DECIMAL, GROUP] = [part("decimal"), part("group")];

/**
 * A number with or without separators of thousands; NaN for anything else. One point or comma alone
 * is what it is in the reader's language, but separates no thousands where it does not stand so.
 */
export function typedNumber(text) {
  const plain = text.trim().replace(/[\s'’]/g, "");
  if (!/^\d[\d.,]*$/.test(plain)) return NaN;
  const [last] = plain.match(/[.,](?=[^.,]*$)/) ?? [];
  if (!last) return Number(plain);
  const others = plain.split(last === "." ? "," : ".").length > 1;
  const repeated = plain.split(last).length > 2;
  if (others && repeated) return NaN;
  const isGroup = repeated || (!others && last === GROUP && last !== DECIMAL && /^\d{1,3}[.,]\d{3}$/.test(plain));
  if (isGroup) return /^\d{1,3}([.,]\d{3})+$/.test(plain) ? Number(plain.replace(/[.,]/g, "")) : NaN;
  const [whole, fraction] = plain.split(last);
  const isWhole = !others || /^\d{1,3}([.,]\d{3})+$/.test(whole);
  return isWhole ? Number(`${whole.replace(/[.,]/g, "")}.${fraction || "0"}`) : NaN;
}
