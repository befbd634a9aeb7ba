// The skip test: what the network loses without each layer and each group's interior, and what measures had said.

function skipAxes(colours, count, width) {
  const shown = thinned(count, Math.max(3, width / 32));
  return axis(colours, { range: [-0.7, count - 0.3], tickvals: shown, ticktext: shown.map((i) => i + 1), tickangle: 0, title: axisTitle("layer", colours) });
}

// From zero, or from what is below it, so that the zeros of two charts lie at one height where nothing is.
function reaching(values) {
  const known = values.filter((value) => value !== null);
  return [1.06 * Math.min(0, ...known), 1.06 * Math.max(0, ...known) || 1];
}

function drawDamage(element, skips) {
  const colours = theme(), count = skips.labels.length, apart = skips.groups.some((group) => group.controls.length);
  const fill = (index) => (index === null ? colours.quiet : DATA.palette[index]);
  const layers = {
    type: "bar", x: skips.damage.map((_, i) => i), y: skips.damage, marker: { color: skips.colours.map(fill), line: { width: 0 } }, showlegend: false,
    error_y: { type: "data", array: skips.error, visible: skips.error.some((value) => value !== null), color: colours.ink, thickness: 1.2, width: 0 },
    hoverinfo: "text", hovertext: skips.damage.map((value, i) => `<b>${escaped(skips.labels[i])}</b><br>${escaped(skips.what)}: ${number(value, 3)}`),
  };
  const kept = skips.reasons.map((reason, i) => [reason, i]).filter(([reason]) => reason);
  const stays = {
    type: "scatter", mode: "markers", x: kept.map(([, i]) => i), y: kept.map(() => 0), name: "cannot be left out", showlegend: kept.length > 0, cliponaxis: false,
    marker: { symbol: "x-thin", size: 9, line: { color: colours.ink, width: 1.5 } },
    hoverinfo: "text", hovertext: kept.map(([reason, i]) => `<b>${escaped(skips.labels[i])}</b> cannot be left out: ${escaped(reason)}`),
  };
  const groups = {
    type: "bar", xaxis: "x2", yaxis: "y2", x: skips.groups.map((_, i) => i), y: skips.groups.map((group) => group.damage), showlegend: false,
    marker: { color: skips.groups.map((group) => fill(group.colour)), line: { width: 0 } },
    hoverinfo: "text", hovertext: skips.groups.map((group) => `<b>layers ${group.name}</b> without the ${group.interior} after the first<br>${escaped(skips.metric)}: ${number(group.damage, 3)}`),
  };
  const blocks = skips.groups.flatMap((group, i) => group.controls.map((control) => [i, control]));
  const controls = {
    type: "scatter", mode: "markers", xaxis: "x2", yaxis: "y2", x: blocks.map(([i]) => i), y: blocks.map(([, control]) => control.damage), name: "as many layers in a row, chosen at random",
    marker: { size: 9, symbol: "diamond", color: colours.paper, line: { color: colours.ink, width: 1.8 } },
    hoverinfo: "text", hovertext: blocks.map(([, control]) => `at random: ${escaped(control.layers)}<br>${escaped(skips.metric)}: ${number(control.damage, 3)}`),
  };
  const value = (more) => axis(colours, { showgrid: true, gridcolor: colours.grid, zeroline: true, zerolinecolor: colours.quiet, nticks: 6, ...more });
  const ends = skips.damage.flatMap((rise, i) => (rise === null ? [] : [rise - (skips.error[i] ?? 0), rise + (skips.error[i] ?? 0)]));
  const blocksAndGroups = [...skips.groups.map((group) => group.damage), ...blocks.map(([, control]) => control.damage)];
  Plotly.react(element, [layers, stays, ...(apart ? [groups, controls] : [])], {
    ...baseLayout(element, colours), showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { color: colours.ink }, bgcolor: "rgba(0,0,0,0)" },
    margin: { l: 62, r: 12, t: 30, b: 52 },
    xaxis: { ...skipAxes(colours, count, element.clientWidth * (apart ? 0.6 : 1)), domain: apart ? [0, 0.64] : [0, 1] },
    yaxis: value({ range: reaching(ends), title: axisTitle(escaped(skips.what), colours) }),
    xaxis2: axis(colours, { anchor: "y2", domain: [0.76, 1], range: [-0.6, skips.groups.length - 0.4], tickvals: skips.groups.map((_, i) => i), ticktext: skips.groups.map((group) => group.name), tickangle: "auto", automargin: true, title: axisTitle("group", colours) }),
    yaxis2: value({ anchor: "x2", range: reaching(blocksAndGroups) }),
  }, CONFIG);
}

function drawPredictions(element, skips) {
  const colours = theme(), count = skips.labels.length;
  const traces = skips.measures.map((measure, i) => ({
    type: "scatter", mode: count > 30 ? "lines" : "lines+markers", x: measure.share.map((_, k) => k), y: measure.share, name: escaped(measure.name),
    line: { color: lineColour(i, colours), width: 2, dash: ["solid", "dash", "dot"][i % 3] }, marker: { size: 5 },
    hoverinfo: "text", hovertext: measure.share.map((share, k) => `<b>${escaped(skips.labels[k])}</b><br>${escaped(measure.name)}<br>${number(share, 3)} of the largest`),
  }));
  Plotly.react(element, traces, {
    ...baseLayout(element, colours), showlegend: true,
    legend: { orientation: "v", x: 0, y: 1.01, yanchor: "bottom", font: { color: colours.ink }, bgcolor: "rgba(0,0,0,0)" },
    margin: { l: 62, r: 12, t: 30, b: 52 },
    xaxis: skipAxes(colours, count, element.clientWidth),
    yaxis: axis(colours, { range: [0, 1.06], showgrid: true, gridcolor: colours.grid, nticks: 6, title: axisTitle("change through the layer, share of the largest", colours) }),
  }, CONFIG);
}

// Present only on pages of which a run has a skip test.
function showSkips(run) {
  const place = byId("skips");
  if (!place) return;
  place.hidden = !run.skips;
  if (!run.skips) return;
  byId("skips-words").textContent = run.skips.words;
  drawDamage(byId("damage"), run.skips);
  drawPredictions(byId("predictions"), run.skips);
}
