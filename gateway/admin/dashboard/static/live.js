// The live tail: rows come ready-made (and escaped) from the server; this only puts them on top and keeps 200.
(() => {
  const MOST_ROWS = 200;
  const button = document.querySelector("[data-live]");
  const rows = document.getElementById("rows");
  const note = document.getElementById("live-note");
  if (!button || !rows || !window.EventSource) return;
  button.hidden = false;
  let source = null;
  let skipped = 0;

  function say(text) { note.hidden = !text; note.textContent = text; }

  function start() {
    source = new EventSource(button.dataset.live);
    source.onopen = () => say("Following. New requests appear on top.");
    source.onerror = () => say("Connection lost, trying again…");
    source.addEventListener("rows", (event) => {
      const part = document.createElement("template");
      part.innerHTML = event.data;
      for (const row of part.content.children) row.classList.add("fresh");
      rows.prepend(part.content);
      while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    });
    source.addEventListener("skipped", (event) => {
      skipped += Number(event.data);
      say(`Following. ${skipped} more matched than fit; narrow the filter to see all.`);
    });
    source.addEventListener("full", () => { stop(); say("Too many people follow at once; try again later."); });
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
  }

  function stop() {
    source?.close();
    source = null;
    say("Paused.");
    button.textContent = "Follow live";
    button.setAttribute("aria-pressed", "false");
  }

  button.addEventListener("click", () => (source ? stop() : start()));
  addEventListener("pagehide", () => source?.close());
})();
