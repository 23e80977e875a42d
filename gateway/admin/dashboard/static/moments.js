// Keeps "12 min ago" true while a page stays open. Same words as wording.py.
(() => {
  const thin = "\u202f";
  const unit = (n, word) => `${n}${thin}${word}`;

  function span(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return unit(whole, "s");
    if (whole < 3600) return unit(Math.round(whole / 60), "min");
    const [big, small, names] = whole < 86400 ? [3600, 60, ["h", "min"]] : [86400, 3600, ["d", "h"]];
    const rest = Math.floor((whole % big) / small);
    const head = unit(Math.floor(whole / big), names[0]);
    return rest ? `${head} ${unit(rest, names[1])}` : head;
  }

  function ago(at, now) {
    const distance = now - at;
    if (Math.abs(distance) < 1) return "just now";
    return distance > 0 ? `${span(distance)} ago` : `in ${span(-distance)}`;
  }

  // The page was written at the server's "now"; its clock counts, not this machine's.
  const written = Number(document.documentElement.dataset.now) || Date.now() / 1000;
  const begun = performance.now();

  function tick() {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[datetime]")) {
      const local = new Date(element.dateTime).toLocaleString();
      element.title = `${element.dateTime} · here ${local}`;
    }
    const now = written + (performance.now() - begun) / 1000;
    for (const element of document.querySelectorAll("[data-ago]")) {
      const text = ago(Number(element.dataset.ago), now);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  tick();
  setInterval(tick, 5000);
  document.addEventListener("visibilitychange", tick);
})();
