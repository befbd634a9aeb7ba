// The timeline: groups (or growth, or how far each layer moved) by step and layer, with accuracy and loss on the same axis below.

// Lines need more contrast with the page than areas do, hence the page's own accent first.
function lineColour(i, colours) {
  return [colours.accent, "#D55E00", "#009E73", "#CC79A7"][i % 4];
}

// One trace for each fill, because Plotly takes hatching colours for a whole trace only.
function groupBars(run, colours, hover) {
  const traces = new Map();
  const traceOf = (fill, shape) => {
    const key = fill + shape;
    if (!traces.has(key)) {
      traces.set(key, {
        type: "bar", x: [], width: [], base: [], y: [], hovertext: [], offset: 0, hoverinfo: hover ? "text" : "skip",
        marker: { color: fill, line: { width: 0 }, pattern: { shape, bgcolor: fill, fgcolor: colours.paper, size: 7, solidity: 0.22, fgopacity: 0.6 } },
      });
    }
    return traces.get(key);
  };
  run.looks.forEach((look, i) => {
    for (const [first, last, identity, index] of look.strips) {
      const lost = identity === null, standing = !lost && look.strength !== "none", weak = standing && look.strength === "weak";
      const own = standing ? DATA.palette[index] : colours.none;
      const trace = traceOf(weak || lost ? mixed(own, colours.paper, 0.55) : own, weak ? "/" : lost ? "x" : "");
      trace.x.push(run.edges[i]);
      trace.width.push(run.edges[i + 1] - run.edges[i]);
      trace.base.push(first - 0.5);
      trace.y.push(last - first + 1);
      const span = first === last ? `layer ${first + 1}` : `layers ${first + 1}–${last + 1}`;
      const what = lost ? "could not be measured" : standing ? `one group, ${look.strength}` : "no groups";
      trace.hovertext.push(`<b>step ${look.step}</b><br>${span}: ${what}`);
    }
  });
  return [...traces.values()];
}

// A cell for each row and look; `value` and `words` are of a row and a look, and rows begin at `top`.
function heat(run, count, top, value, words, hover, scale) {
  const rows = Array.from({ length: count }, (_, row) => row);
  return {
    type: "heatmap", x: run.edges, y: Array.from({ length: count + 1 }, (_, i) => top + i), ...scale, showscale: false,
    z: rows.map((row) => run.looks.map((look) => value(row, look))),
    text: rows.map((row) => run.looks.map((look) => `<b>step ${look.step}</b><br>${words(row, look)}`)),
    hoverinfo: hover ? "text" : "skip", hoverongaps: false,
  };
}

function growthMap(run, colours, hover) {
  const limit = DATA.axes[run.task].growthLimit;
  const value = (gap, look) => (look.growth[gap] > 0 ? Math.log2(look.growth[gap]) : null);
  const words = (gap, look) => `layer ${gap + 1} → ${gap + 2}: ${number(look.growth[gap])} times its first distance`;
  return heat(run, run.layers.length - 1, 0, value, words, hover, { zmin: -limit, zmax: limit, colorscale: growthColours(colours) });
}

function movedMap(run, colours, hover) {
  const value = (layer, look) => (look.moved ? look.moved[layer] : null);
  const words = (layer, look) => `layer ${layer + 1}: moved ${number(value(layer, look))}${look.trained && !look.trained[layer] ? ", its weights as at the start" : ""}`;
  return heat(run, run.layers.length, -0.5, value, words, hover, { zmin: 0, zmax: DATA.axes[run.task].movedLimit, colorscale: movedColours(colours) });
}

function boundaryLines(run, colours, thick, halo) {
  const x = [], y = [];
  run.looks.forEach((look, i) => {
    for (const k of look.boundaries) {
      x.push(run.edges[i], run.edges[i + 1], null);
      y.push(k + 0.5, k + 0.5, null);
    }
    for (const [from, to] of look.moves) {
      x.push(run.edges[i], run.edges[i], null);
      y.push(from + 0.5, to + 0.5, null);
    }
  });
  // What the architecture does by itself is no finding: dashed and grey, beneath what is one.
  const own = stretches(run, (look) => look.builtIn.filter((k) => !look.boundaries.includes(k)));
  // Where one sequence of layers ends and another begins, no group can reach across, whatever was learnt.
  const apart = stretches(run, (look) => look.sequenceEnds);
  const ends = { type: "scatter", mode: "lines", ...apart, line: { color: colours.ink, width: Math.max(1, thick / 2), dash: "8px,3px,2px,3px" }, hoverinfo: "skip" };
  const dashed = { type: "scatter", mode: "lines", ...own, line: { color: colours.quiet, width: Math.max(1, thick / 2), dash: "4px,3px" }, hoverinfo: "skip" };
  const line = (color, width) => ({ type: "scatter", mode: "lines", x, y, line: { color, width }, hoverinfo: "skip" });
  // A halo in the page's own colour keeps the line visible on every group's colour.
  return [dashed, ends, ...(halo ? [line(colours.paper, thick + 2), line(colours.ink, thick)] : [line(colours.ink, thick / 2)])];
}

// Lines after the marked layers, unbroken over neighbouring looks: a dash that began anew at each would look like a whole line.
function stretches(run, marked) {
  const x = [], y = [];
  for (const k of new Set(run.looks.flatMap(marked))) {
    run.looks.forEach((look, i) => {
      if (!marked(look).includes(k)) return;
      if (i && marked(run.looks[i - 1]).includes(k)) x[x.length - 2] = run.edges[i + 1];
      else { x.push(run.edges[i], run.edges[i + 1], null); y.push(k + 0.5, k + 0.5, null); }
    });
  }
  return { x, y };
}

function plantedMarks(run, colours, size) {
  if (!run.planted) return [];
  const edge = run.edges[run.edges.length - 1];
  return [{
    type: "scatter", mode: "markers", x: run.planted.map(() => edge), y: run.planted.map((k) => k + 0.5), cliponaxis: false,
    marker: { symbol: "triangle-left", size, color: colours.ink, standoff: -size / 2 },
    hoverinfo: "text", hovertext: run.planted.map((k) => `planted after layer ${k + 1}, on purpose`),
  }];
}

function strips(run, colours, colouring, thick, hover) {
  const map = { growth: growthMap, moved: movedMap }[colouring]; // what grew is often the boundary itself, so there the line stays thin
  return [
    ...(map ? [map(run, colours, hover)] : groupBars(run, colours, hover)),
    ...boundaryLines(run, colours, thick, !map), ...plantedMarks(run, colours, hover ? 11 : 8),
  ];
}

// Steps of a small picture: where it is narrow only the first and the last, lest they run into each other.
function sparseTicks(element, shared) {
  if (element.clientWidth >= 150) return shared.few;
  const ends = (list) => [list[0], list[list.length - 1]];
  return { at: ends(shared.few.at), text: ends(shared.few.text) };
}

function drawSmall(element, run, colouring) {
  const colours = theme(), shared = DATA.axes[run.task], depth = run.layers.length;
  const layers = [0, depth - 1];
  const ticks = sparseTicks(element, shared);
  Plotly.react(element, strips(run, colours, colouring, 1.8, false), {
    ...baseLayout(element, colours),
    font: { ...baseLayout(element, colours).font, size: 12 },
    margin: { l: 22, r: 10, t: 4, b: 22 },
    xaxis: axis(colours, { range: shared.range, tickvals: ticks.at, ticktext: ticks.text, tickangle: 0 }),
    yaxis: axis(colours, { range: [depth - 0.5, -0.5], tickvals: layers, ticktext: layers.map((i) => i + 1) }),
  }, { ...CONFIG, staticPlot: true });
}

function drawRowAccuracy(element, keys) {
  const colours = theme(), runs = keys.map((key) => RUNS.get(key)).filter((run) => run && run.accuracy.length);
  if (!runs.length) return;
  const shared = DATA.axes[runs[0].task], ticks = sparseTicks(element, shared);
  const share = shared.accuracy[1] < 1.1; // not in percent, nor a score of another kind
  const traces = runs.map((run, i) => {
    const series = run.accuracy[0];
    return { type: "scatter", mode: "lines", x: series.x, y: series.y, line: { color: lineColour(i, colours), width: 2 } };
  });
  element.previousElementSibling.textContent = runs[0].accuracy[0].name;
  Plotly.react(element, traces, {
    ...baseLayout(element, colours),
    font: { ...baseLayout(element, colours).font, size: 12 },
    margin: { l: share ? 24 : 40, r: 8, t: 4, b: 22 },
    xaxis: axis(colours, { range: shared.range, tickvals: ticks.at, ticktext: ticks.text, tickangle: 0 }),
    yaxis: axis(colours, {
      range: shared.accuracy, showgrid: true, gridcolor: colours.grid, nticks: 4, ticklabeloverflow: "allow",
      ...(share ? { tickvals: [0, 0.5, 1], ticktext: ["0", ".5", "1"] } : {}),
    }),
  }, { ...CONFIG, staticPlot: true });
}

function cursor(run, index, colours) {
  const x = run.looks[index].x;
  const line = (color, width) => ({ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color, width } });
  return [line(colours.paper, 5), line(colours.accent, 2.5)];
}

function metricTraces(list, which, colours) {
  return list.map((series, i) => ({
    type: "scatter", mode: series.x.length > 40 ? "lines" : "lines+markers", x: series.x, y: series.y, yaxis: `y${which}`,
    line: { color: lineColour(i, colours), width: 2, dash: ["solid", "dash", "dot", "dashdot"][i % 4] }, marker: { size: 5 },
    name: escaped(series.name), showlegend: true, legend: `legend${which}`, hoverinfo: "text",
    hovertext: series.y.map((y, k) => `<b>step ${series.step[k]}</b><br>${escaped(series.name)} ${number(y, 3)}`),
  }));
}

// How many lines a legend takes: Plotly gives every entry the width of the longest.
function legendLines(list, width) {
  const entry = 56 + 7.6 * Math.max(...list.map((series) => series.name.length));
  return Math.ceil(list.length / Math.max(1, Math.floor(width / entry)));
}

function drawTimeline(element, run, index, colouring) {
  const colours = theme(), narrow = element.clientWidth < 560, depth = run.layers.length;
  const panels = [["accuracy", run.accuracy], ["loss", run.loss]].filter(([, list]) => list.length);
  const names = axisLabels(element, run), left = narrow ? 34 : Math.max(72, names.room), strip = Math.min(520, Math.max(230, 30 * depth)), panel = 118;
  const spaces = panels.map(([, list]) => 14 + 20 * legendLines(list, element.clientWidth - left - 16));
  const inner = strip + spaces.reduce((sum, space) => sum + panel + space, 0), height = inner + 60;
  element.style.height = `${height}px`;
  const shown = thinned(depth, strip / 19), ticks = narrow ? run.fewTicks : run.ticks;
  const spacing = DATA.axes[run.task].logarithmic ? "logarithmic" : "linear";
  const layout = {
    ...baseLayout(element, colours, height),
    margin: { l: left, r: 16, t: 6, b: 54 },
    barmode: "overlay", showlegend: true, shapes: cursor(run, index, colours),
    xaxis: axis(colours, {
      range: DATA.axes[run.task].range, tickvals: ticks.at, ticktext: ticks.text, tickangle: 0, anchor: panels.length ? `y${panels.length + 1}` : "y",
      title: axisTitle(`training step (${spacing}; looks are marked)`, colours),
    }),
    yaxis: axis(colours, {
      range: [depth - 0.5, -0.5], domain: [1 - strip / inner, 1], tickvals: shown,
      ticktext: shown.map((i) => (narrow ? `${i + 1}` : escaped(names.texts[i]))),
    }),
  };
  if (colouring === "moved" && !run.looks.some((look) => look.moved)) {
    layout.annotations = [{ text: "not known: these records are of an older version", x: 0.5, xref: "paper", y: depth / 2 - 0.5, showarrow: false, font: { color: colours.quiet } }];
  }
  const traces = strips(run, colours, colouring, 2.6, true).map((trace) => ({ ...trace, showlegend: false }));
  traces.push({
    type: "scatter", mode: "markers", x: run.looks.map((look) => look.x), y: run.looks.map(() => depth - 0.5), cliponaxis: false,
    marker: { symbol: "line-ns-open", size: 9, color: colours.ink, line: { width: 1.4, color: colours.ink } },
    hoverinfo: "text", hovertext: run.looks.map((look) => `look at step ${look.step}`), showlegend: false,
  });
  let depthSoFar = strip;
  panels.forEach(([label, list], i) => {
    depthSoFar += spaces[i];
    const top = 1 - depthSoFar / inner;
    depthSoFar += panel;
    layout[`yaxis${i + 2}`] = axis(colours, {
      domain: [Math.max(0, top - panel / inner), top], showgrid: true, gridcolor: colours.grid, nticks: 4,
      range: label === "accuracy" ? DATA.axes[run.task].accuracy : undefined, rangemode: "tozero",
      title: narrow ? undefined : axisTitle(label, colours),
    });
    layout[`legend${i + 2}`] = { orientation: "h", x: 0, y: top, xanchor: "left", yanchor: "bottom", font: { size: 13, color: colours.ink }, bgcolor: "rgba(0,0,0,0)" };
    traces.push(...metricTraces(list, i + 2, colours));
  });
  Plotly.react(element, traces, layout, CONFIG);
}

function moveCursor(element, run, index) {
  Plotly.relayout(element, { shapes: cursor(run, index, theme()) });
}
