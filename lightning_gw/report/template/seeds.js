// What the seeds of a strategy say together: where boundaries fell, the mean matrix and its spread, corresponding layers.

function spreadColours(colours) {
  return [[0, colours.raised], [1, colours.spread]];
}

// Beside the timelines and at their depth, so that the eye goes straight across.
function drawShares(element, task, strategy) {
  const all = DATA.comparisons[task], own = all.strategies[strategy], depth = all.layers.length, colours = theme();
  const share = own.share.map(([value]) => value ?? 0), known = own.share.map(([value, low, high]) => value > 0 && low !== null && high !== null);
  const bars = {
    type: "bar", orientation: "h", y: share.map((_, k) => k + 0.5), x: share, width: 0.8, marker: { color: "#56B4E9", line: { width: 0 } },
    error_x: {
      type: "data", symmetric: false, color: colours.ink, thickness: 1.3, width: 0,
      array: own.share.map(([value, , high], k) => (known[k] ? high - value : 0)), arrayminus: own.share.map(([value, low], k) => (known[k] ? value - low : 0)),
    },
    hoverinfo: "text", hovertext: own.share.map(([value, low, high], k) =>
      `after layer ${k + 1}: ${value === null ? "not known" : `${Math.round(value * own.runs)} of ${own.runs}`}` +
      (known[k] ? `<br>95 % interval ${Math.round(100 * low)} to ${Math.round(100 * high)} %` : "")),
  };
  const planted = {
    type: "scatter", mode: "markers", x: all.planted.map(() => 1.04), y: all.planted.map((k) => k + 0.5), cliponaxis: false,
    marker: { symbol: "triangle-left", size: 9, color: colours.ink }, hoverinfo: "text", hovertext: all.planted.map((k) => `planted after layer ${k + 1}, on purpose`),
  };
  Plotly.react(element, [bars, planted], {
    ...baseLayout(element, colours),
    font: { ...baseLayout(element, colours).font, size: 12 },
    margin: { l: 20, r: 12, t: 4, b: 22 },
    shapes: all.planted.map((k) => ({ type: "line", layer: "below", x0: 0, x1: 1, y0: k + 0.5, y1: k + 0.5, line: { color: colours.quiet, width: 1, dash: "3px,3px" } })),
    xaxis: axis(colours, { range: [0, 1.08], tickvals: [0, 0.5, 1], ticktext: ["0", ".5", "1"], showgrid: true, gridcolor: colours.grid, tickangle: 0 }),
    yaxis: axis(colours, { range: [depth - 0.5, -0.5], tickvals: [0, depth - 1], ticktext: [1, depth] }),
  }, CONFIG);
}

function layerAxes(colours, depth, width) {
  const shown = thinned(depth, Math.max(2, width / 20));
  const side = { tickvals: shown, ticktext: shown.map((i) => i + 1), tickangle: 0, constrain: "domain" };
  return [axis(colours, { ...side, range: [-0.5, depth - 0.5] }), axis(colours, { ...side, range: [depth - 0.5, -0.5] })];
}

function drawMean(element, task, strategy) {
  const all = DATA.comparisons[task], own = all.strategies[strategy], labels = own.labels ?? all.labels, depth = labels.length, colours = theme();
  const pair = (i, j) => (i === j ? `<b>${escaped(labels[i])}</b> with itself` : `<b>${escaped(labels[i])}</b> and <b>${escaped(labels[j])}</b>`);
  const of = own.runs === 1 ? "1 run" : `${own.runs} runs`;
  const text = own.mean.map((row, i) => row.map((value, j) =>
    `${pair(i, j)}<br>mean similarity ${number(value, 3)} over ${of}` + (own.spread ? `<br>standard deviation ${number(own.spread[i][j], 3)}` : "")));
  const map = (z, more) => ({ type: "heatmap", z, text, hoverinfo: "text", zmin: 0, showscale: false, xgap: depth > 20 ? 0 : 1, ygap: depth > 20 ? 0 : 1, ...more });
  const traces = [map(own.mean, { zmax: 1, colorscale: DATA.magnitudes.map((colour, i) => [i / (DATA.magnitudes.length - 1), colour]) })];
  if (own.spread) traces.push(map(own.spread, { zmax: all.spreadTop, colorscale: spreadColours(colours), xaxis: "x2", yaxis: "y2" }));
  const [across, down] = layerAxes(colours, depth, element.clientWidth / 2);
  const ground = (x, y) => ({ type: "rect", layer: "below", xref: x, yref: y, x0: -0.5, x1: depth - 0.5, y0: -0.5, y1: depth - 0.5, fillcolor: colours.none, line: { width: 0 } });
  Plotly.react(element, traces, {
    ...baseLayout(element, colours),
    font: { ...baseLayout(element, colours).font, size: 12 },
    margin: { l: 22, r: 4, t: 4, b: 22 },
    shapes: own.spread ? [ground("x", "y"), ground("x2", "y2")] : [ground("x", "y")],
    xaxis: { ...across, domain: [0, 0.48] }, yaxis: { ...down, scaleanchor: "x" },
    xaxis2: { ...across, domain: [0.52, 1], anchor: "y2" }, yaxis2: { ...down, scaleanchor: "x2", anchor: "x2", showticklabels: false },
  }, CONFIG);
}

function drawRectangle(element, task, other) {
  const found = DATA.rectangles[task][other], colours = theme(), rows = found.rows.length, columns = found.columns.length;
  const partnered = found.best.map((best, i) => [i, best]).filter(([, best]) => best >= 0);
  const returned = (i) => (found.runs === 1 ? "" : `<br>the same in ${found.returned[i]} of ${found.runs} pairs of runs`);
  const [across] = layerAxes(colours, columns, element.clientWidth), [, down] = layerAxes(colours, rows, element.clientHeight);
  Plotly.react(element, [
    {
      type: "heatmap", z: found.similarity, hoverinfo: "text", zmin: 0, zmax: 1, showscale: false, xgap: columns > 20 ? 0 : 1, ygap: rows > 20 ? 0 : 1,
      colorscale: DATA.magnitudes.map((colour, i) => [i / (DATA.magnitudes.length - 1), colour]),
      text: found.similarity.map((row, i) => row.map((value, j) =>
        `<b>${escaped(found.rows[i])}</b> and its <b>${escaped(found.columns[j])}</b><br>mean GW similarity ${number(value, 3)}` + (found.best[i] === j ? `<br>best partner${returned(i)}` : ""))),
    },
    {
      type: "scatter", mode: "markers", x: partnered.map(([, best]) => best), y: partnered.map(([i]) => i), hoverinfo: "skip",
      marker: { size: 9, color: "#D55E00", line: { color: "#ffffff", width: 1.2 } },
    },
  ], {
    ...baseLayout(element, colours),
    font: { ...baseLayout(element, colours).font, size: 12 },
    margin: { l: 24, r: 4, t: 4, b: 24 },
    shapes: [{ type: "rect", layer: "below", x0: -0.5, x1: columns - 0.5, y0: -0.5, y1: rows - 0.5, fillcolor: colours.none, line: { width: 0 } }],
    xaxis: across, yaxis: { ...down, scaleanchor: "x" },
  }, CONFIG);
}

function paintSpreads(colours) {
  for (const scale of document.querySelectorAll("[data-scale=spread]")) {
    const all = DATA.comparisons[scale.dataset.task];
    scale.hidden = !Object.values(all.strategies).some((strategy) => strategy.spread);
    scale.querySelector("i").style.background = `linear-gradient(to right, ${spreadColours(colours).map(([, colour]) => colour).join(", ")})`;
    scale.querySelector("[data-end=high]").textContent = all.spreadTop.toFixed(2);
  }
}
