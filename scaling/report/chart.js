"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("chart-data").textContent);
  const { trials, columns, techniques, laws } = data;
  const n = trials.trial_id.length;
  const SVG = "http://www.w3.org/2000/svg";
  const HUES = 7;
  // Marks that differ in shape as well as in colour: the page is read in grey, too.
  const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "down"];
  const NEAR = 40;
  const lawNames = [...new Set(laws.map((law) => law.law))];
  const lawHue = (law) => hue(1 + (lawNames.indexOf(law.law) % 6));
  const lawDashes = (law) => ["", "7 3", "2 3", "9 3 2 3"][lawNames.indexOf(law.law) % 4];
  const state = { cost: data.cost, error: data.error, hidden: new Set(), laws: true, chosen: -1, pinned: false };
  let view = null;

  function element(name, attributes = {}, parent = null) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.appendChild(made);
    return made;
  }

  function shape(place, x, y, size) {
    const s = size, kind = SHAPES[place % SHAPES.length];
    if (kind === "circle") return `M${x - s},${y}a${s},${s} 0 1,0 ${2 * s},0a${s},${s} 0 1,0 ${-2 * s},0z`;
    if (kind === "square") return `M${x - s},${y - s}h${2 * s}v${2 * s}h${-2 * s}z`;
    if (kind === "triangle") return `M${x},${y - s * 1.2}l${s * 1.2},${s * 2.2}h${-s * 2.4}z`;
    if (kind === "diamond") return `M${x},${y - s * 1.4}l${s * 1.4},${s * 1.4}l${-s * 1.4},${s * 1.4}l${-s * 1.4},${-s * 1.4}z`;
    if (kind === "down") return `M${x},${y + s * 1.2}l${s * 1.2},${-s * 2.2}h${-s * 2.4}z`;
    const t = s * 0.45;
    return `M${x - t},${y - s * 1.3}h${2 * t}v${s * 1.3 - t}h${s * 1.3 - t}v${2 * t}h${-(s * 1.3 - t)}v${s * 1.3 - t}` +
      `h${-2 * t}v${-(s * 1.3 - t)}h${-(s * 1.3 - t)}v${-2 * t}h${s * 1.3 - t}z`;
  }

  const hue = (place) => `var(--hue-${place % HUES})`;
  const known = (value) => typeof value === "number" && Number.isFinite(value);

  // As the fits do it: a trial has a place if it has a positive cost and an error.
  function placed() {
    const costs = trials.values[state.cost], errors = trials.values[state.error];
    const list = [];
    for (let i = 0; i < n; i++)
      if (!state.hidden.has(trials.technique[i]) && known(costs[i]) && costs[i] > 0 && known(errors[i])) list.push(i);
    return list.sort((a, b) => costs[a] - costs[b] || errors[a] - errors[b] || a - b);
  }

  // An error of exactly 0 is drawn at half a test example; a logarithm has no other place for it.
  function lifted(list) {
    const errors = trials.values[state.error];
    const positive = list.map((i) => errors[i]).filter((e) => e > 0);
    const least = positive.length ? Math.min(...positive) / 2 : 1;
    const counted = columns[state.error].kind === "fraction" && trials.n_test;
    return (i, error) => (error > 0 ? error : counted && trials.n_test[i] ? 0.5 / trials.n_test[i] : least);
  }

  // Cells whose mean over seeds no other cell beats in both: as scaling.pareto_front.
  function frontier(list) {
    const costs = trials.values[state.cost], errors = trials.values[state.error];
    const cells = new Map();
    for (const i of list) {
      const cell = cells.get(trials.cell[i]) || { cost: 0, error: 0, n: 0, first: i };
      cell.cost += costs[i]; cell.error += errors[i]; cell.n += 1;
      cells.set(trials.cell[i], cell);
    }
    const means = [...cells.values()].map((c) => ({ cost: c.cost / c.n, error: c.error / c.n, n: c.n, first: c.first }));
    means.sort((a, b) => a.cost - b.cost || a.error - b.error);
    const front = [];
    let best = Infinity;
    for (const cell of means) {
      const last = front[front.length - 1];
      if (cell.error < best || (last && cell.error === last.error && cell.cost === last.cost)) {
        front.push(cell);
        best = cell.error;
      }
    }
    return front;
  }

  function range(values) {
    const low = Math.log10(Math.min(...values)), high = Math.log10(Math.max(...values));
    const room = Math.max((high - low) * 0.04, 0.05);
    return [low - room, high + room];
  }

  function ticks([low, high]) {
    const steps = high - low > 2 ? [1] : [1, 2, 5];
    const stride = high - low > 12 ? Math.ceil((high - low) / 8) : 1;
    const found = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power += stride)
      for (const step of steps) {
        const at = power + Math.log10(step);
        if (at >= low && at <= high) found.push(step * 10 ** power);
      }
    return found;
  }

  function short(value) {
    if (!known(value)) return "unknown";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e9) return value.toLocaleString("en");
    return size >= 1e5 || size < 1e-3 ? value.toExponential(2).replace("e+", "e") : String(Number(value.toPrecision(4)));
  }

  function amount(name, value) {
    if (!known(value)) return "unknown";
    const { unit, kind } = columns[name] || { unit: "", kind: "" };
    if (kind === "fraction") return `${Number((100 * value).toPrecision(4))}%`;
    return short(value) + (unit ? ` ${unit}` : "");
  }

  function tickText(name, value) {
    if (columns[name].kind === "fraction") return `${Number((100 * value).toPrecision(3))}%`;
    return value >= 1e4 || value < 1e-2 ? value.toExponential(0).replace("e+", "e") : String(Number(value.toPrecision(3)));
  }

  const title = (name) => columns[name].label + (columns[name].unit ? ` [${columns[name].unit}]` : "");

  function draw() {
    const box = byId("chart");
    const width = Math.max(280, box.clientWidth || 800), height = Math.round(Math.max(280, Math.min(520, width * 0.62)));
    const margin = { left: 58, right: 14, top: 12, bottom: 44 };
    const list = placed(), lift = lifted(list), front = frontier(list);
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": `${columns[state.error].label} against ${columns[state.cost].label}, ${list.length} trials` });
    box.replaceChildren(svg);
    const shown = state.laws ? laws.filter((l) => l.x.length && l.cost === state.cost && l.error === state.error) : [];
    if (!list.length) {
      element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, svg).textContent = "no trial to draw";
      view = { list, front, at: () => null };
      note(list, front, shown);
      choose(-1);
      return;
    }
    const costs = trials.values[state.cost], errors = trials.values[state.error];
    const xs = range(list.map((i) => costs[i])), ys = range(list.map((i) => lift(i, errors[i])));
    const px = (c) => margin.left + ((Math.log10(c) - xs[0]) / (xs[1] - xs[0])) * (width - margin.left - margin.right);
    const py = (e) => height - margin.bottom - ((Math.log10(e) - ys[0]) / (ys[1] - ys[0])) * (height - margin.top - margin.bottom);
    axes(svg, { width, height, margin, xs, ys, px, py });
    const inner = element("g", { "clip-path": "url(#chart-clip)" }, svg);
    const clip = element("clipPath", { id: "chart-clip" }, element("defs", {}, svg));
    element("rect", { x: margin.left, y: margin.top, width: width - margin.left - margin.right,
      height: height - margin.top - margin.bottom }, clip);
    const line = (x, y) => x.map((c, k) => `${k ? "L" : "M"}${px(c).toFixed(1)},${py(y[k]).toFixed(1)}`).join("");
    shown.forEach((law) => {
      const colour = lawHue(law);
      if (law.low.length)
        element("path", { class: "band", fill: colour, d: line([...law.x, ...[...law.x].reverse()], [...law.low, ...[...law.high].reverse()]) + "z" }, inner);
    });
    marks(inner, list, (i) => px(costs[i]), (i) => py(lift(i, errors[i])), width);
    if (front.length > 1)
      element("path", { class: "front", d: line(front.map((c) => c.cost), front.map((c) => lift(c.first, c.error))) }, inner);
    for (const cell of front)
      element("circle", { class: "ring", cx: px(cell.cost), cy: py(lift(cell.first, cell.error)), r: width < 600 ? 3.5 : 5 }, inner);
    shown.forEach((law) => {
      const colour = lawHue(law);
      element("path", { class: "law", stroke: colour, d: line(law.x, law.y), "data-law": law.law,
        "stroke-dasharray": lawDashes(law) }, inner);
    });
    view = { list, front, svg, x: (i) => px(costs[i]), y: (i) => py(lift(i, errors[i])),
      chosen: element("circle", { class: "chosen", r: 8, visibility: "hidden" }, svg) };
    legend(svg, shown, width, margin);
    svg.addEventListener("pointermove", (event) => { if (!state.pinned) choose(nearest(event)); });
    svg.addEventListener("pointerleave", () => { if (!state.pinned) choose(-1); });
    svg.addEventListener("click", (event) => {
      const found = nearest(event);
      state.pinned = found >= 0;
      choose(found);
    });
    byId("chart-trial").max = Math.max(list.length - 1, 0);
    note(list, front, shown);
    choose(list.includes(state.chosen) ? state.chosen : -1);
  }

  function axes(svg, { width, height, margin, xs, ys, px, py }) {
    const bottom = height - margin.bottom, group = element("g", {}, svg);
    const wanted = Math.max(2, Math.floor(width / 90));
    const across = ticks(xs), every = Math.ceil(across.length / wanted);
    across.forEach((tick, k) => {
      if (k % every) return;
      element("line", { class: "grid", x1: px(tick), x2: px(tick), y1: margin.top, y2: bottom }, group);
      element("text", { x: px(tick), y: bottom + 16, "text-anchor": "middle" }, group).textContent = tickText(state.cost, tick);
    });
    for (const tick of ticks(ys)) {
      element("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: py(tick), y2: py(tick) }, group);
      element("text", { x: margin.left - 6, y: py(tick) + 4, "text-anchor": "end" }, group).textContent = tickText(state.error, tick);
    }
    element("path", { class: "axis", fill: "none", d: `M${margin.left},${margin.top}V${bottom}H${width - margin.right}` }, group);
    element("text", { x: (margin.left + width) / 2, y: height - 6, "text-anchor": "middle", class: "x-title" }, group).textContent = title(state.cost);
    element("text", { transform: `translate(13 ${(margin.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle",
      class: "y-title" }, group).textContent = title(state.error);
  }

  // One path per technique: thousands of marks cost a handful of elements.
  function marks(parent, list, x, y, width) {
    const size = Math.max(1.6, Math.min(4, (width / 200) * Math.sqrt(300 / Math.max(list.length, 1)) + 1));
    techniques.forEach((name, place) => {
      const own = list.filter((i) => trials.technique[i] === place);
      if (!own.length) return;
      const d = own.map((i) => shape(place, Number(x(i).toFixed(1)), Number(y(i).toFixed(1)), size)).join("");
      element("path", { d, fill: hue(place), "fill-opacity": 0.65, "data-technique": name, "data-count": own.length }, parent);
    });
  }

  function legend(svg, shown, width, margin) {
    shown.forEach((law, k) => {
      const words = law.exponent === null ? `${law.law} law` : `${law.law} law, k = ${law.exponent.toFixed(2)} ` +
        `[${law.exponent_low === null ? "-∞" : law.exponent_low.toFixed(2)}, ${law.exponent_high === null ? "∞" : law.exponent_high.toFixed(2)}]`;
      const y = margin.top + 14 + 17 * k;
      element("text", { x: width - margin.right - 32, y, "text-anchor": "end", class: "law-label" }, svg).textContent = words;
      element("path", { class: "law", stroke: lawHue(law), d: `M${width - margin.right - 26},${y - 4}h24`,
        "stroke-dasharray": lawDashes(law) }, svg);
    });
  }

  function nearest(event) {
    const box = view.svg.getBoundingClientRect();
    const scale = view.svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let found = -1, least = NEAR * NEAR;
    for (const i of view.list) {
      const far = (view.x(i) - x) ** 2 + (view.y(i) - y) ** 2;
      if (far < least) { least = far; found = i; }
    }
    return found;
  }

  function note(list, front, shown) {
    const parts = [`${short(list.length)} of ${short(n)} trials drawn; rings: the frontier of their cells, means over seeds (${front.length}).`];
    const dark = n - list.length - trials.technique.filter((t) => state.hidden.has(t)).length;
    if (dark > 0) parts.push(`${short(dark)} have no known ${columns[state.cost].label} or ${columns[state.error].label}.`);
    const refused = laws.filter((l) => !l.x.length && l.cost === state.cost && l.error === state.error);
    for (const law of refused) parts.push(`The ${law.law} law is not drawn: ${law.reason}.`);
    if (!laws.some((l) => l.cost === state.cost && l.error === state.error)) parts.push("No law was fitted on these axes.");
    else if (shown.length && state.hidden.size) parts.push("The laws are those of all techniques together.");
    byId("chart-note").textContent = parts.join(" ");
  }

  function choose(i) {
    const details = byId("chart-details");
    state.chosen = i;
    if (view.chosen) {
      view.chosen.setAttribute("visibility", i < 0 ? "hidden" : "visible");
      if (i >= 0) { view.chosen.setAttribute("cx", view.x(i)); view.chosen.setAttribute("cy", view.y(i)); }
    }
    if (i < 0) {
      details.textContent = "No trial chosen.";
      return;
    }
    const place = view.list.indexOf(i), slider = byId("chart-trial");
    slider.value = place;
    slider.setAttribute("aria-valuetext", `${place + 1} of ${view.list.length}: ${trials.trial_id[i]}`);
    const heading = document.createElement("strong");
    heading.textContent = `Trial ${trials.trial_id[i]}`;
    details.replaceChildren(heading);
    const link = trials.link && trials.link[i];
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link; anchor.target = "_blank"; anchor.rel = "noopener"; anchor.textContent = `MLflow run ${link.split("/").pop()}`;
      details.append(" · ", anchor);
    }
    const facts = document.createElement("dl");
    const add = (name, value, key) => {
      const pair = document.createElement("div"), term = document.createElement("dt"), what = document.createElement("dd");
      term.textContent = name; what.textContent = value; what.dataset.column = key;
      pair.append(term, what); facts.append(pair);
    };
    for (const name of data.errors) add(columns[name].label, amount(name, trials.values[name][i]), name);
    for (const name of data.costs) add(columns[name].label, amount(name, trials.values[name][i]), name);
    for (const [name, values] of Object.entries(trials.settings))
      if (values[i] !== null) add(name.replaceAll("_", " "), typeof values[i] === "number" ? short(values[i]) : values[i], name);
    details.append(facts);
  }

  function keys() {
    for (const svg of document.querySelectorAll("svg.key")) {
      const place = Number(svg.dataset.place);
      element("path", { d: shape(place, 7, 7, 4), fill: hue(place) }, svg);
    }
  }

  function toggle(hide) {
    for (const box of document.querySelectorAll("input[name=technique]")) {
      if (hide !== undefined) box.checked = !hide;
      if (box.checked) state.hidden.delete(Number(box.value));
      else state.hidden.add(Number(box.value));
    }
    state.pinned = false;
    draw();
  }

  byId("chart-cost").value = state.cost;
  byId("chart-error").value = state.error;
  byId("chart-cost").addEventListener("change", (event) => { state.cost = event.target.value; draw(); });
  byId("chart-error").addEventListener("change", (event) => { state.error = event.target.value; draw(); });
  byId("chart-laws").addEventListener("change", (event) => { state.laws = event.target.checked; draw(); });
  byId("chart-trial").addEventListener("input", (event) => {
    state.pinned = true;
    choose(view.list[Number(event.target.value)] ?? -1);
  });
  for (const box of document.querySelectorAll("input[name=technique]")) box.addEventListener("change", () => toggle());
  byId("chart-all")?.addEventListener("click", () => toggle(false));
  byId("chart-none")?.addEventListener("click", () => toggle(true));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { state.pinned = false; choose(-1); } });
  keys();
  draw();
  const asked = /^#trial=(.+)$/.exec(location.hash);
  if (asked) {
    const i = trials.trial_id.indexOf(decodeURIComponent(asked[1]));
    if (i >= 0) { state.pinned = true; choose(i); byId("chart-section").scrollIntoView(); }
  }
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 100); });
  window.chartState = () => ({ cost: state.cost, error: state.error, drawn: view.list.length, chosen: state.chosen,
    front: view.front.map((c) => [c.cost, c.error]) });
})();
