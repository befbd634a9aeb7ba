// One look: the matrix, the profile, and the numbers and words behind them.

// Values are stored for i < j, row by row; this is where a pair lies.
function pairIndex(i, j, depth) {
  const [low, high] = i < j ? [i, j] : [j, i];
  return low * depth - (low * (low + 1)) / 2 + high - low - 1;
}

function belowValues(run, look, below) {
  return below === "paired" ? look.paired : look.measures[below];
}

function belowName(run, below) {
  return below === "paired" ? run.paired : run.measures[below];
}

// Above the diagonal: the matrix that the groups were found in, or the plain one.
function aboveValues(run, look, above) {
  return above === "plain" || run.foundIn === "gw" || !look.measures[run.foundIn] ? look.gw : look.measures[run.foundIn];
}

function drawMatrix(element, run, index, above, below) {
  const colours = theme(), look = run.looks[index], depth = run.layers.length, narrow = element.clientWidth < 480;
  const over = aboveValues(run, look, above), under = belowValues(run, look, below), all = Array.from({ length: depth }, (_, i) => i);
  const missing = new Set(look.degenerate);
  const z = all.map((i) => all.map((j) => (missing.has(i) || missing.has(j) ? null : i === j ? 1 : (i < j ? over : under)[pairIndex(i, j, depth)])));
  const text = all.map((i) => all.map((j) => {
    const names = `<b>${escaped(run.labels[i])}</b> and <b>${escaped(run.labels[j])}</b>`;
    if (missing.has(i) || missing.has(j)) return `${names}<br>not measured: a layer was left out`;
    if (i === j) return `<b>${escaped(run.labels[i])}</b> with itself`;
    const at = pairIndex(i, j, depth);
    const found = run.foundIn === "gw" || !look.measures[run.foundIn] ? "" : `<br>${escaped(run.foundName)} ${number(look.measures[run.foundIn][at], 3)}`;
    return `${names}${found}<br>GW similarity at least ${number(look.gw[at], 3)}<br>certified at most ${number(look.bound[at], 3)}` +
      `<br>paired (${escaped(run.paired)}) ${number(look.paired[at], 3)}` +
      (below === "paired" ? "" : `<br>${escaped(belowName(run, below))} ${number(under[at], 3)}`);
  }));
  const shown = thinned(depth, narrow ? 12 : 25);
  const names = axisLabels(element, run), labels = shown.map((i) => (narrow ? `${i + 1}` : escaped(names.texts[i])));
  const rim = depth * 0.012; // room for the outline of a group that reaches the edge
  const side = { tickvals: shown, ticktext: labels, range: [-0.5 - rim, depth - 0.5 + rim], constrain: "domain" };
  Plotly.react(element, [{
    type: "heatmap", z, text, hoverinfo: "text", hoverongaps: true, zmin: 0, zmax: 1, showscale: false,
    colorscale: DATA.magnitudes.map((colour, i) => [i / (DATA.magnitudes.length - 1), colour]),
    xgap: depth > 30 ? 0 : 1, ygap: depth > 30 ? 0 : 1,
  }], {
    ...baseLayout(element, colours),
    margin: narrow ? { l: 28, r: 8, t: 8, b: 40 } : { l: names.room, r: 8, t: 8, b: 12 + 0.82 * names.room },
    shapes: [
      // What no value covers stays grey: it carries no evidence.
      { type: "rect", layer: "below", x0: -0.5, x1: depth - 0.5, y0: -0.5, y1: depth - 0.5, fillcolor: colours.none, line: { width: 0 } },
      ...outlines(look, colours, depth),
    ],
    xaxis: axis(colours, { ...side, tickangle: narrow ? 0 : -55, title: narrow ? axisTitle("layer", colours) : undefined }),
    yaxis: axis(colours, { ...side, range: [depth - 0.5 + rim, -0.5 - rim], scaleanchor: "x" }),
  }, CONFIG);
}

function outlines(look, colours, depth) {
  const shapes = [];
  // Steps of the architecture itself: dashed and grey, beneath the groups.
  for (const k of look.builtIn) {
    if (look.boundaries.includes(k)) continue;
    for (const line of [{ color: "#ffffff", width: 3 }, { color: "#6b7280", width: 2, dash: "5px,4px" }]) {
      shapes.push({ type: "line", x0: -0.5, x1: depth - 0.5, y0: k + 0.5, y1: k + 0.5, line });
      shapes.push({ type: "line", x0: k + 0.5, x1: k + 0.5, y0: -0.5, y1: depth - 0.5, line });
    }
  }
  // Where one sequence of layers ends and another begins: encoder and decoder, or towers beside each other.
  for (const k of look.sequenceEnds) {
    for (const line of [{ color: "#ffffff", width: 4 }, { color: "#111827", width: 2, dash: "8px,3px,2px,3px" }]) {
      shapes.push({ type: "line", x0: -0.5, x1: depth - 0.5, y0: k + 0.5, y1: k + 0.5, line });
      shapes.push({ type: "line", x0: k + 0.5, x1: k + 0.5, y0: -0.5, y1: depth - 0.5, line });
    }
  }
  const box = (first, last, line) => shapes.push({ type: "rect", x0: first - 0.5, x1: last + 0.5, y0: first - 0.5, y1: last + 0.5, line });
  if (look.strength !== "none") {
    const weak = look.strength === "weak";
    for (const [first, last, identity, index] of look.strips) {
      if (identity === null) continue;
      box(first, last, { color: "#ffffff", width: 6 });
      box(first, last, { color: DATA.palette[index], width: 3, dash: weak ? "5px,3px" : "solid" });
    }
  }
  // Where the paired view disagrees, its own squares are dotted into its half.
  if (look.pairedBoundaries.length && String(look.pairedBoundaries) !== String(look.boundaries)) {
    const ends = [...new Set([...look.pairedBoundaries, ...look.sequenceEnds, depth - 1])].sort((a, b) => a - b);
    ends.forEach((last, i) => {
      const first = i ? ends[i - 1] + 1 : 0;
      shapes.push({
        type: "path", line: { color: "#ffffff", width: 2, dash: "2px,3px" },
        path: `M ${first - 0.5} ${first - 0.5} V ${last + 0.5} H ${last + 0.5}`,
      });
    });
  }
  return shapes;
}

// Powers of two where growth spans them, else steps so fine that there are at least three marks.
function growthTicks(low, high) {
  const within = (values) => values.filter((value) => value >= low * 0.94 && value <= high * 1.06);
  const steps = (step, last) => Array.from({ length: Math.round(last / step) }, (_, k) => Number(((k + 1) * step).toFixed(2)));
  const words = { 0.125: "⅛", 0.25: "¼", 0.5: "½" };
  const powers = within(Array.from({ length: 24 }, (_, k) => 2 ** (k - 9)));
  const tickvals = powers.length > 2 ? powers : [steps(0.5, 8), steps(0.2, 4), steps(0.1, 4)].map(within).find((fine) => fine.length > 2) ?? powers;
  return { tickvals, ticktext: tickvals.map((value) => words[value] ?? String(Number(value.toPrecision(3)))) };
}

function drawProfile(element, run, index) {
  const colours = theme(), look = run.looks[index], first = run.looks[0], gaps = run.layers.length - 1;
  const at = Array.from({ length: gaps }, (_, i) => i), narrow = element.clientWidth < 480;
  const shown = thinned(gaps, narrow ? 6 : 12);
  const hover = (i) => `layer ${i + 1} → ${i + 2}`;
  const line = (y, more) => ({ type: "scatter", mode: gaps > 30 ? "lines" : "lines+markers", x: at, y, hoverinfo: "text", ...more });
  const traces = [];
  if (index) {
    traces.push(line(first.adjacent, {
      mode: "lines", name: `step ${first.step}, the first look`, line: { color: colours.quiet, width: 1.6, dash: "dot" },
      hovertext: at.map((i) => `<b>step ${first.step}</b>, ${hover(i)}<br>distance ${number(first.adjacent[i], 3)}`),
    }));
  }
  traces.push(line(look.adjacent, {
    name: `step ${look.step}`, line: { color: colours.accent, width: 2.6 }, marker: { size: 7 },
    hovertext: at.map((i) => `<b>step ${look.step}</b>, ${hover(i)}<br>distance found ${number(look.adjacent[i], 3)}<br>at the first look ${number(first.adjacent[i], 3)}`),
  }));
  traces.push(line(look.growth, {
    yaxis: "y2", showlegend: false, line: { color: colours.ink, width: 2 }, marker: { size: 5 },
    hovertext: at.map((i) => `<b>step ${look.step}</b>, ${hover(i)}<br>${number(look.growth[i])} times its first distance`),
  }));
  const every = run.looks.flatMap((other) => other.growth).filter((value) => value !== null);
  const low = Math.min(0.75, ...every), high = Math.max(1.35, ...every);
  Plotly.react(element, traces, {
    ...baseLayout(element, colours), showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { color: colours.ink }, bgcolor: "rgba(0,0,0,0)" },
    margin: { l: 62, r: 12, t: 30, b: 52 },
    shapes: [
      ...look.boundaries.map((k) => ({ type: "rect", layer: "below", xref: "x", yref: "paper", x0: k - 0.3, x1: k + 0.3, y0: 0, y1: 1, fillcolor: colours.accent, opacity: 0.14, line: { width: 0 } })),
      { type: "line", xref: "paper", yref: "y2", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: colours.quiet, width: 1 } },
    ],
    xaxis: axis(colours, { anchor: "y2", range: [-0.5, gaps - 0.5], tickvals: shown, ticktext: shown.map((i) => `${i + 1}→${i + 2}`), tickangle: 0, title: axisTitle("from layer → to next layer", colours) }),
    yaxis: axis(colours, { domain: [0.42, 1], range: [0, run.adjacentTop * 1.06], showgrid: true, gridcolor: colours.grid, nticks: 6, title: axisTitle("GW distance found", colours) }),
    yaxis2: axis(colours, { domain: [0, 0.33], type: "log", range: [Math.log10(low * 0.93), Math.log10(high * 1.07)], ...growthTicks(low, high), showgrid: true, gridcolor: colours.grid, title: axisTitle("× first look", colours) }),
  }, CONFIG);
}

function cell(row, text, kind = "td") {
  const element = document.createElement(kind);
  element.textContent = text;
  row.append(element);
}

function fillFacts(list, look) {
  list.replaceChildren();
  for (const [term, meaning] of look.facts) {
    cell(list, term, "dt");
    if (DATA.words[term]) list.lastChild.append(Object.assign(document.createElement("small"), { textContent: DATA.words[term] }));
    cell(list, meaning, "dd");
  }
}

function fillNeighbours(body, run, look) {
  body.replaceChildren();
  const boundaries = new Set(look.boundaries);
  look.adjacent.forEach((distance, i) => {
    const row = document.createElement("tr"), at = pairIndex(i, i + 1, run.layers.length);
    if (boundaries.has(i)) row.className = "boundary";
    cell(row, `${run.labels[i]} → ${run.labels[i + 1]}`);
    for (const value of [look.gw[at], look.bound[at], look.paired[at], distance, look.growth[i]]) cell(row, number(value, 3));
    body.append(row);
  });
}
