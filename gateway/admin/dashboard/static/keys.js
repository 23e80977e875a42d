// Keyboard: "/" searches, "?" helps, "g" and a letter goes to a page, "t" switches light and dark.
(() => {
  const PLACES = { o: "/dashboard", i: "/dashboard/incidents", r: "/dashboard/requests", u: "/dashboard/upstreams" };
  const PATIENCE_MS = 1200; // how long a "g" waits for its letter
  let gone = 0;

  const typing = (element) => element.closest?.("input, textarea, select, [contenteditable]");

  function search() {
    const field = document.getElementById("search");
    if (field) { field.focus(); field.select(); } else location.assign("/dashboard/requests#search");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const help = document.getElementById("help");
    if (help?.open) return; // the browser closes a dialog on Escape by itself
    if (gone && event.timeStamp - gone < PATIENCE_MS && PLACES[event.key]) {
      event.preventDefault();
      location.assign(PLACES[event.key]);
      return;
    }
    gone = event.key === "g" ? event.timeStamp : 0;
    if (event.key === "/") { event.preventDefault(); search(); }
    if (event.key === "?") { event.preventDefault(); help?.showModal(); }
    if (event.key === "t") document.dispatchEvent(new CustomEvent("theme-toggle"));
  });

  if (location.hash === "#search") search();

  // Filters take effect at once; without JavaScript their button does the same.
  for (const form of document.querySelectorAll("form[data-submit-on-change]")) {
    form.addEventListener("change", () => form.requestSubmit());
    form.addEventListener("formdata", (event) => {
      for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name); // short addresses
    });
  }
})();
