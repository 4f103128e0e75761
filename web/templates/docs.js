// Swagger UI with the description of this service, in the theme of the other pages.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function follow() {
    const theme = root.dataset.theme;
    root.classList.toggle("dark-mode", theme === "dark" || (theme === "auto" && system.matches));
  }

  document.addEventListener("themechange", follow);
  follow();
  window.ui = SwaggerUIBundle({
    url: `${root.dataset.base}/openapi.json`,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
})();
