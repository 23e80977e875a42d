// What the pages need around htmx: saying when the figures stand still, and taking over a changed incident.
(() => {
  const stale = document.getElementById("stale");

  document.addEventListener("htmx:error", () => { stale.hidden = false; });
  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail?.ctx?.response?.status;
    if (status === 401) location.reload(); // the session is over: the page leads to sign-in and back
    stale.hidden = !(status >= 500);
  });

  // A tab nobody looks at asks for nothing.
  document.addEventListener("htmx:config:request", (event) => {
    if (document.hidden && event.detail?.ctx?.sourceEvent?.type === "every") event.preventDefault();
  });

  // Nobody loses a half-typed reason to a refresh: then the page only says that it has changed.
  document.addEventListener("incident-changed", () => {
    const typed = [...document.querySelectorAll("main input:not([type=hidden]), main textarea")].some((field) => field.value);
    const deciding = document.activeElement?.closest?.(".decide");
    if (typed || deciding) document.getElementById("changed").hidden = false; else location.reload();
  });
})();
