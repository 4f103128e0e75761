// What is wrong with the fields of a form, beside each of them.

import { setText } from "./catalogue.js";

/** Show at each field what is wrong with it, in the words of `plainly`, and go to the first of them. */
export function showWrong(form, problems, plainly) {
  for (const { name } of [...form.elements].filter((control) => control.name)) {
    const problem = problems.find(({ loc }) => loc[1] === name);
    setText(form.querySelector(`[data-wrong="${name}"]`), problem ? plainly(problem) : "");
    if (problem) form.elements[name].setAttribute("aria-invalid", "true");
    else form.elements[name].removeAttribute("aria-invalid");
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
}
