// What is shown, and how it is chosen: one run, one look, kept in the address so that a view can be sent on.

const byId = (id) => document.getElementById(id);
const state = { run: null, look: 0, above: "found", below: "paired", colouring: "groups" };

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function loadLibrary() {
  // Packed, the charting library takes 2 MB instead of 5; current browsers unpack it themselves.
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack it (it lacks DecompressionStream, which Chrome 80, Firefox 113 and Safari 16.4 brought)");
  }
  const script = document.createElement("script");
  script.textContent = await unpacked("library");
  document.head.append(script);
  if (typeof Plotly === "undefined") throw new Error("it did not start");
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const key = wanted.get("run");
  const notice = byId("notice");
  notice.hidden = !key || RUNS.has(key);
  if (!notice.hidden) notice.textContent = `The address asks for the run “${key}”, which this page does not hold. Shown instead: ${DATA.runs[0].name}.`;
  const run = RUNS.get(key) || DATA.runs[0];
  let look = run.looks.length - 1; // the answer is at the end
  if (wanted.has("step")) {
    const step = Number(wanted.get("step"));
    look = Math.max(0, run.looks.filter((other) => other.step <= step).length - 1);
  }
  return { run, look };
}

function writeAddress() {
  const { run, look } = state;
  const hash = new URLSearchParams({ run: run.key, step: run.looks[look].step });
  history.replaceState(null, "", `#${hash}`);
  for (const link of document.querySelectorAll("a.cell")) link.toggleAttribute("aria-current", link.dataset.run === run.key);
  for (const link of document.querySelectorAll("a.cell[aria-current]")) link.setAttribute("aria-current", "true");
}

// Where the run itself lies, beside this page and in Weights & Biases.
function placeRun(run) {
  const place = byId("run-place"), parts = [];
  const link = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text, rel: "noreferrer" });
  if (run.folder) parts.push("Its folder: ", link(run.folder, run.key), ". ");
  if (run.wandb) parts.push("In Weights & Biases: ", run.wandb.url ? link(run.wandb.url, run.wandb.words) : run.wandb.words, ".");
  place.replaceChildren(...parts);
  place.hidden = !parts.length;
}

function showRun(run) {
  state.run = run;
  byId("run").value = run.key;
  byId("run-title").textContent = run.task ? `${run.task}: ${run.name}, look by look` : `${run.name}, look by look`;
  byId("run-answer").textContent = run.answer;
  byId("run-planted").textContent = run.plantedSentence;
  placeRun(run);
  const slider = byId("look");
  slider.max = run.looks.length - 1;
  const above = byId("above"), plain = new Option("GW", "plain");
  above.replaceChildren(...(run.foundIn === "gw" ? [] : [new Option(`${run.foundName.replace("Gromov-Wasserstein", "GW")}, where groups were found`, "found")]), plain);
  above.value = run.foundIn === "gw" ? "plain" : state.above;
  above.disabled = run.foundIn === "gw";
  const below = byId("below");
  below.replaceChildren(new Option(`paired (${run.paired})`, "paired"), ...Object.entries(run.measures).map(([key, name]) => new Option(name, key)));
  if (state.below !== "paired" && !run.measures[state.below]) state.below = "paired";
  below.value = state.below;
  const events = run.events.map((event) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.dataset.look = event.look;
    const when = document.createElement("span"), dot = document.createElement("i"), text = document.createElement("span");
    when.className = "when";
    when.textContent = `step ${event.step}`;
    dot.style.background = event.colour;
    text.textContent = event.text;
    button.append(when, dot, text);
    button.addEventListener("click", () => showLook(event.look));
    item.append(button);
    return item;
  });
  if (!events.length) {
    const none = document.createElement("li");
    none.className = "quiet";
    none.textContent = "Nothing: no group appeared, moved or dissolved between looks.";
    events.push(none);
  }
  byId("events").replaceChildren(...events);
  for (const scale of document.querySelectorAll("#run-view .key [data-scale]")) labelScale(scale, run.task);
  byId("paired-head").textContent = `paired (${run.paired})`;
  for (const key of document.querySelectorAll("[data-planted-key]")) key.hidden = !DATA.runs.some((other) => other.planted);
  for (const key of document.querySelectorAll("[data-moved-key]")) key.hidden = !DATA.runs.some((other) => other.looks.some((look) => look.moved));
}

function showLook(index) {
  const { run } = state, look = run.looks[index];
  state.look = index;
  const slider = byId("look"), where = `step ${look.step} · look ${index + 1} of ${run.looks.length}`;
  slider.value = index;
  slider.setAttribute("aria-valuetext", `${where}: ${look.summary}`);
  byId("where").textContent = where;
  byId("back").disabled = index === 0;
  byId("forth").disabled = index === run.looks.length - 1;
  byId("now").textContent = `Step ${look.step}: ${look.summary}.`;
  byId("matrix").setAttribute("aria-label", `Matrix of layer similarities at step ${look.step}. ${look.sentence}`);
  byId("profile").setAttribute("aria-label", `Distances found between neighbouring layers at step ${look.step}; the table below holds the numbers.`);
  byId("timeline").setAttribute("aria-label", `Groups by layer and step, with accuracy and loss. ${run.answer}`);
  drawMatrix(byId("matrix"), run, index, state.above, state.below);
  drawProfile(byId("profile"), run, index);
  moveCursor(byId("timeline"), run, index);
  fillFacts(byId("facts"), look);
  fillNeighbours(byId("neighbours"), run, look);
  for (const button of byId("events").querySelectorAll("button")) {
    if (Number(button.dataset.look) === index) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  writeAddress();
}

function show({ run, look }) {
  showRun(run);
  drawTimeline(byId("timeline"), run, look, state.colouring);
  showSkips(run);
  showLook(look);
}

// Every chart of the comparison, in the order of the page, as work that can be done bit by bit.
function smalls() {
  const each = (selector, draw) => Array.from(document.querySelectorAll(selector), (element) => () => draw(element, element.dataset));
  return [
    ...each("#side-by-side .row", (row) => {
      for (const element of row.querySelectorAll("[data-small]")) drawSmall(element, RUNS.get(element.dataset.small), state.colouring);
      for (const element of row.querySelectorAll("[data-shares]")) drawShares(element, element.dataset.task, element.dataset.shares);
      for (const element of row.querySelectorAll("[data-row-accuracy]")) drawRowAccuracy(element, JSON.parse(element.dataset.rowAccuracy));
    }),
    ...each("[data-mean]", (element, { task, mean }) => drawMean(element, task, mean)),
    ...each("[data-rectangle]", (element, { task, rectangle }) => drawRectangle(element, task, rectangle)),
  ];
}

function labelScales() {
  for (const scale of document.querySelectorAll("#side-by-side .key [data-scale]")) {
    if (DATA.axes[scale.dataset.task]) labelScale(scale, scale.dataset.task);
  }
  paintSpreads(theme());
}

function drawSmalls() {
  labelScales();
  for (const draw of smalls()) draw();
}

// A page of many runs answers while it is still drawing.
async function drawSmallsByAndBy() {
  labelScales();
  let since = performance.now();
  for (const draw of smalls()) {
    draw();
    if (performance.now() - since < 40) continue;
    await new Promise((go) => setTimeout(go));
    since = performance.now();
  }
}

function redraw() {
  paintScales(theme());
  if (!state.run) return;
  drawTimeline(byId("timeline"), state.run, state.look, state.colouring);
  showSkips(state.run);
  showLook(state.look);
  drawSmalls();
}

function chooseColouring(value) {
  state.colouring = value;
  for (const input of document.querySelectorAll("[data-colouring]")) input.checked = input.value === value;
  for (const key of document.querySelectorAll("[data-key]")) key.hidden = key.dataset.key !== value;
  redraw();
}

// A click anywhere on the timeline, or on the curves below it, shows the look whose column that is.
function chooseColumn(event) {
  const chart = byId("timeline"), layout = chart._fullLayout, edges = state.run.edges;
  if (!layout) return;
  const at = layout.xaxis.p2l(event.clientX - chart.getBoundingClientRect().left - layout.xaxis._offset);
  const look = edges.findIndex((edge, i) => i < edges.length - 1 && at >= edge && at < edges[i + 1]);
  if (look >= 0) showLook(look);
}

function step(by) {
  const next = state.look + by;
  if (next >= 0 && next < state.run.looks.length) showLook(next);
}

function listen() {
  byId("look").addEventListener("input", (event) => showLook(Number(event.target.value)));
  byId("back").addEventListener("click", () => step(-1));
  byId("forth").addEventListener("click", () => step(1));
  byId("run").addEventListener("change", (event) => { location.hash = new URLSearchParams({ run: event.target.value }); });
  byId("below").addEventListener("change", (event) => { state.below = event.target.value; drawMatrix(byId("matrix"), state.run, state.look, state.above, state.below); });
  byId("above").addEventListener("change", (event) => { state.above = event.target.value; drawMatrix(byId("matrix"), state.run, state.look, state.above, state.below); });
  byId("timeline").addEventListener("click", chooseColumn);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const input of document.querySelectorAll("[data-colouring]")) input.addEventListener("change", () => chooseColouring(input.value));
  for (const link of document.querySelectorAll("a.cell")) link.addEventListener("click", () => byId("run-view").scrollIntoView());
  addEventListener("hashchange", () => show(readAddress()));
  addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, select, textarea") || event.altKey || event.ctrlKey || event.metaKey;
    if (busy || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    step(event.key === "ArrowRight" ? 1 : -1);
    event.preventDefault();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // phones resize in height whenever their address bar hides
    width = innerWidth;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", (event) => {
    // What is folded on a screen cannot be unfolded on paper.
    for (const fold of document.querySelectorAll("details.each")) fold.open = event.matches || fold.dataset.was === "open";
    redraw();
  });
  for (const fold of document.querySelectorAll("details.each")) {
    fold.dataset.was = fold.open ? "open" : "";
    fold.addEventListener("toggle", () => { if (!matchMedia("print").matches) fold.dataset.was = fold.open ? "open" : ""; });
  }
}

// Links within the page must not take the place of the run and step in the address.
for (const link of document.querySelectorAll("[data-skip]")) {
  link.addEventListener("click", (event) => {
    const target = document.querySelector(link.getAttribute("href"));
    event.preventDefault();
    if (target) { target.scrollIntoView(); target.focus({ preventScroll: true }); }
  });
}

async function start() {
  paintScales(theme());
  if (!DATA.runs.length) return;
  try {
    await loadLibrary();
  } catch (error) {
    byId("failure").textContent = `The pictures are missing: the charting library is packed inside this page, and ${error.message}. The words hold without them.`;
    byId("failure").hidden = false;
    return;
  }
  listen();
  show(readAddress());
  await drawSmallsByAndBy();
  document.documentElement.dataset.drawn = "yes";
}

start();
