// Draws the incident's chart with uPlot: lines from the server, vertical marks with letters, values on hover.
(() => {
  const place = document.getElementById("chart");
  const legend = document.getElementById("chart-legend");
  if (!place || !window.uPlot) return;
  const REFRESH_MS = 10000;
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
  let model = JSON.parse(place.dataset.chart);
  let plot = null;

  // The style sheet owns every colour; a canvas has to ask for them.
  const colour = (selector) => getComputedStyle(document.querySelector(selector)).color;
  const soft = (rgb, alpha) => rgb.replace(/^rgba?\(([^)]+)\).*$/, (_, parts) => `rgba(${parts.split(",").slice(0, 3).join(",")}, ${alpha})`);

  function figure(value, unit) {
    if (value === null || value === undefined) return "–";
    const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return `${Number(value.toFixed(digits))}${unit === "/s" ? "" : "\u202f"}${unit}`;
  }

  function clock(at) { return new Date(at * 1000).toISOString().slice(11, 19); }

  function read(row) {
    const shown = row ?? model.at.length - 1;
    model.lines.forEach((line, i) => {
      const cell = legend.querySelector(`[data-line="${i}"]`);
      if (cell) cell.textContent = figure(line.values[shown], line.unit);
    });
    const failed = model.lines.find((line) => line.look === "errors");
    const all = model.lines.find((line) => line.look === "requests");
    const part = failed && all && all.values[shown] ? ` · ${figure((failed.values[shown] / all.values[shown]) * 100, "%")} failed` : "";
    legend.querySelector("[data-at]").textContent = `${clock(model.at[shown])}${part}`;
  }

  // Under the lines: where the first of them stayed before it began.
  function drawUsual(u) {
    if (!model.usual) return;
    const [low, high] = model.usual.map((value) => u.valToPos(value, "y", true));
    u.ctx.save();
    u.ctx.fillStyle = colour(".swatch.usual");
    u.ctx.fillRect(u.bbox.left, high - 1, u.bbox.width, Math.max(low - high, 0) + 2);
    u.ctx.restore();
  }

  function drawMarks(u) {
    const { ctx } = u;
    const ratio = devicePixelRatio;
    const ink = colour(".probe-ink");
    const ground = colour(".probe-ground");
    const r = 9 * ratio;
    let lastX = -Infinity;
    let row = 0;
    ctx.save();
    ctx.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    for (const mark of model.marks) {
      const x = Math.round(u.valToPos(mark.at, "x", true));
      if (x < u.bbox.left - 1 || x > u.bbox.left + u.bbox.width + 1) continue;
      row = x - lastX < 2.4 * r ? row + 1 : 0; // marks close together step down instead of overlapping
      lastX = x;
      const y = u.bbox.top + r + row * 2.3 * r;
      ctx.strokeStyle = ink;
      ctx.lineWidth = ratio;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, y + r);
      ctx.lineTo(x, u.bbox.top + u.bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = ink;
      ctx.beginPath();
      ctx.arc(x, y, r, 0, 2 * Math.PI);
      ctx.fill();
      ctx.fillStyle = ground;
      ctx.fillText(mark.letter, x, y + ratio / 2);
    }
    ctx.restore();
  }

  function series(line) {
    const stroke = colour(`.swatch.${line.look}`);
    const filled = line.look !== "requests";
    return { label: line.name, stroke, width: filled ? 2 : 1.5, fill: filled ? soft(stroke, 0.14) : undefined, points: { show: false }, spanGaps: false };
  }

  function options(width) {
    const axis = { stroke: colour(".probe-muted"), font: FONT, grid: { stroke: colour(".probe-line"), width: 1 }, ticks: { show: false } };
    const unit = model.lines[0].unit;
    return {
      width,
      height: width < 500 ? 230 : 300,
      padding: [8, 20, 0, 0],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => [0, (high || 0) * 1.12 || 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 30, values: (_, ats, _axis, _space, step) => ats.map((at) => clock(at).slice(0, step < 60 ? 8 : 5)) },
        { ...axis, size: 64, values: (_, values) => values.map((value) => figure(value, unit)) },
      ],
      series: [{}, ...model.lines.map(series)],
      hooks: { drawClear: [drawUsual], draw: [drawMarks], setCursor: [(u) => read(u.cursor.idx)] },
    };
  }

  function draw() {
    plot?.destroy();
    plot = new uPlot(options(place.clientWidth), [model.at, ...model.lines.map((line) => line.values)], place);
    read(null);
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const answer = await fetch(place.dataset.source, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      model = await answer.json();
      if (!model.at.length) return;
      if (model.lines.length !== plot.series.length - 1) draw(); else plot.setData([model.at, ...model.lines.map((line) => line.values)]);
      if (plot.cursor.idx === null || plot.cursor.idx === undefined) read(null);
    } catch { /* the refresh of the page's head already says that the connection is lost */ }
  }

  draw();
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    draw();
  }).observe(place);
  document.addEventListener("theme", draw);
  if (place.dataset.source) setInterval(refresh, REFRESH_MS);
})();
