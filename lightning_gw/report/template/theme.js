"use strict";
// Colours and layouts that all charts share. The roles come from the style sheet, so light, dark and paper follow it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = new Map(DATA.runs.map((run) => [run.key, run]));
const CONFIG = { displayModeBar: false, responsive: false, showTips: false };

function role(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function theme() {
  const names = ["paper", "raised", "ink", "quiet", "rule", "none", "accent", "grid", "spread"];
  return Object.fromEntries(names.map((name) => [name, role(name)]));
}

// Chart text may hold markup, so a layer called <b> must not become one.
function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function mixed(colour, background, share) {
  const [own, other] = [colour, background].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return "#" + own.map((v, i) => Math.round(v + (other[i] - v) * share).toString(16).padStart(2, "0")).join("");
}

function baseLayout(element, colours, height) {
  return {
    width: element.clientWidth,
    height: height || element.clientHeight,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colours.ink },
    hoverlabel: { bgcolor: colours.raised, bordercolor: colours.quiet, font: { color: colours.ink, size: 14 }, align: "left" },
    hovermode: "closest",
    dragmode: false,
    showlegend: false,
    margin: { l: 44, r: 10, t: 8, b: 40 },
  };
}

function axis(colours, more) {
  return {
    showgrid: false, zeroline: false, showline: false, ticks: "", fixedrange: true,
    tickfont: { color: colours.ink }, titlefont: { color: colours.quiet }, ...more,
  };
}

function axisTitle(text, colours) {
  return { text, font: { size: 13, color: colours.quiet }, standoff: 8 };
}

// As many of the labels as fit, evenly spaced, always with the first.
function thinned(count, most) {
  const every = Math.max(1, Math.ceil(count / Math.max(1, most)));
  return Array.from({ length: Math.ceil(count / every) }, (_, i) => i * every);
}

// Layer names beside an axis, and the pixels that the longest takes at the charts' text size: at most about a third of
// the chart, so that of longer names the beginning is left out. What one points at has its whole name.
function axisLabels(element, run) {
  const most = Math.max(8, Math.floor((0.35 * element.clientWidth - 16) / 7.6));
  const texts = run.labels.map((label) => {
    const place = label.split(" ")[0];
    return label.length <= most ? label : `${place} …${label.slice(place.length + 2 - most)}`;
  });
  return { texts, room: 16 + 7.6 * Math.max(...texts.map((text) => text.length)) };
}

function number(value, digits = 2) {
  return value === null || value === undefined ? "not measured" : value.toFixed(digits);
}

function growthColours(colours) {
  return [[0, "#0072B2"], [0.25, mixed("#0072B2", colours.none, 0.5)], [0.5, colours.none],
    [0.75, mixed("#D55E00", colours.none, 0.5)], [1, "#D55E00"]];
}

function movedColours(colours) {
  return [[0, colours.none], [0.5, mixed("#D55E00", colours.none, 0.5)], [1, "#D55E00"]];
}

function paintScales(colours) {
  const gradient = (stops) => `linear-gradient(to right, ${stops.join(", ")})`;
  for (const scale of document.querySelectorAll("[data-scale=similarity] i")) scale.style.background = gradient(DATA.magnitudes);
  for (const [kind, own] of [["growth", growthColours], ["moved", movedColours]]) {
    for (const scale of document.querySelectorAll(`[data-scale=${kind}] i`)) scale.style.background = gradient(own(colours).map((stop) => stop[1]));
  }
}

function labelScale(scale, task) {
  if (scale.dataset.scale === "moved") {
    scale.querySelector("[data-end=low]").textContent = "0";
    scale.querySelector("[data-end=high]").textContent = DATA.axes[task].movedLimit.toPrecision(2);
    return;
  }
  const top = 2 ** DATA.axes[task].growthLimit;
  scale.querySelector("[data-end=low]").textContent = `${(1 / top).toPrecision(2)}×`;
  scale.querySelector("[data-end=high]").textContent = `${top.toPrecision(2)}×`;
}
