// The theme: auto, light or dark. A classic script in the head, so that the browser never paints
// the page in the wrong colours first.
(() => {
  const themes = ["auto", "light", "dark"];
  const root = document.documentElement;

  function remembered() {
    try {
      const theme = localStorage.getItem("theme");
      return themes.includes(theme) ? theme : "auto";
    } catch {
      return "auto"; // storage may be forbidden: the choice then ends with the page
    }
  }

  function apply(theme) {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-label", button.dataset[theme]);
      button.title = button.dataset[theme];
    }
    document.dispatchEvent(new Event("themechange"));
  }

  function next() {
    const theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // see above
    }
    apply(theme);
  }

  apply(remembered());
  document.addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme);
    document.getElementById("theme")?.addEventListener("click", next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new Event("themechange"));
  });
})();
