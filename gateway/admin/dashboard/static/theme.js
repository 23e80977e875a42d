// Light or dark: the system decides until somebody presses the switch; the choice is kept in this browser.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* storage may be forbidden: the system decides then */ }

  const isDark = () => (chosen ? chosen === "dark" : system.matches);

  function apply() {
    if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.hidden = false;
      button.textContent = isDark() ? "Light" : "Dark";
      button.title = `Switch to ${isDark() ? "light" : "dark"} (t)`;
    }
    document.dispatchEvent(new CustomEvent("theme"));
  }

  function toggle() {
    chosen = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", chosen); } catch { /* lasts for this page only */ }
    apply();
  }

  apply(); // before the first paint, so that nothing flashes
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("theme-toggle", toggle);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-theme-switch]")) toggle();
  });
})();
