"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const CELLS = 60; /* values of an axis above which a grid of cells gives way to points */
const RAMP = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const LINES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888", "#7A4B00"];
const byId = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
};
const unique = (values) => [...new Set(values)].sort((a, b) => a - b);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const deviation = (values) => {
  const m = mean(values);
  return values.length > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - m) ** 2, 0) / (values.length - 1)) : null;
};
const SMALL = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function shown(value) {
  const power = value > 0 ? Math.log10(value) : 0.5;
  if (Math.abs(power - Math.round(power)) < 1e-9 && (power < -2.5 || power > 3.5)) {
    return `10${power < 0 ? "⁻" : ""}${String(Math.abs(Math.round(power))).split("").map((d) => SMALL[d]).join("")}`;
  }
  return String(Number(value.toPrecision(3)));
}

const state = { sweep: 0, kind: 0, direction: "", bits: "", x: "", y: "" };
let hits = []; /* what the pointer can rest on: {x, y, w, h, text} */

function colour(share) {
  const at = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const part = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round(part(RAMP[low], i) + (at - low) * (part(RAMP[low + 1], i) - part(RAMP[low], i))));
  return `rgb(${mixed})`;
}

function chooser(name, key, options, wide) {
  const select = make("select", { onchange: () => { state[key] = select.value; if (wide) start(); draw(); } });
  for (const [value, text] of options) select.append(make("option", { value, textContent: text }));
  select.value = String(state[key]);
  return make("label", {}, name, select);
}

/* The controls of a sweep; what a sweep does not have is not offered. */
function start() {
  const sweep = D.sweeps[state.sweep];
  state.kind = 0;
  state.direction = sweep.directions[0];
  state.bits = "";
  state.x = sweep.vary[0].name;
  state.y = sweep.vary.length > 1 ? sweep.vary[1].name : "";
  const bar = byId("controls");
  bar.replaceChildren();
  if (D.sweeps.length > 1) bar.append(chooser("Study", "sweep", D.sweeps.map((s, i) => [String(i), s.name]), true));
  if (sweep.directions.length > 1) bar.append(chooser("Direction", "direction", sweep.directions.map((d) => [d, D.directions[d] || d])));
  if (sweep.kinds.length > 1) bar.append(chooser("Database codes", "kind", sweep.kinds.map((k, i) => [String(i), k])));
  const lengths = unique(sweep.columns.bits);
  if (lengths.length > 1) bar.append(chooser("Bits", "bits", [["", "all"], ...lengths.map((b) => [String(b), String(b)])]));
  const names = sweep.vary.map((v) => [v.name, v.symbol]);
  bar.append(chooser("Across", "x", names), chooser("Up", "y", [["", "mAP"], ...names]));
}

function rows(sweep) {
  const found = [];
  const scores = sweep.map[state.direction];
  for (let i = 0; i < scores.length; i++) {
    if (sweep.kind[i] !== Number(state.kind) || (state.bits !== "" && sweep.columns.bits[i] !== Number(state.bits))) continue;
    if (sweep.columns[state.x][i] === null || (state.y && sweep.columns[state.y][i] === null)) continue;
    found.push(i);
  }
  return found;
}

/* Where a value lies on an axis, from 0 to 1: by its place among few values, else by its logarithm or itself. */
function axis(values) {
  const known = unique(values);
  if (known.length <= CELLS) {
    const place = new Map(known.map((v, i) => [v, (i + 0.5) / known.length]));
    const step = Math.ceil(known.length / 11);
    return { grid: true, known, at: (v) => place.get(v), ticks: known.filter((_, i) => i % step === 0) };
  }
  const [low, high] = [known[0], known[known.length - 1]];
  const log = low > 0 && high / low >= 30;
  const turn = log ? Math.log10 : (v) => v;
  const at = (v) => 0.02 + (0.96 * (turn(v) - turn(low))) / (turn(high) - turn(low));
  return { grid: false, known, at, ticks: log ? decades(low, high) : steps(low, high) };
}
function decades(low, high) {
  const found = [];
  for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e++) found.push(10 ** e);
  return found;
}
function steps(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= raw) || 10);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-12; v += step) found.push(Number(v.toPrecision(6)));
  return found;
}

function draw() {
  const began = performance.now();
  const sweep = D.sweeps[state.sweep];
  const canvas = byId("plane");
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  const box = { left: 58, top: 14, right: width - 14, bottom: height - 44 };
  const symbol = (name) => (sweep.vary.find((v) => v.name === name) || { symbol: "mAP" }).symbol;
  const chosen = rows(sweep);
  const scores = sweep.map[state.direction];
  hits = [];
  if (!chosen.length) {
    byId("readout").textContent = "No result for this choice.";
    return;
  }
  let low = Infinity, high = -Infinity;
  for (const i of chosen) { low = Math.min(low, scores[i]); high = Math.max(high, scores[i]); }
  if (low === high) { low -= 0.005; high += 0.005; }
  const flat = !state.y || state.y === state.x;
  if (!flat) box.right -= 74;
  const across = axis(chosen.map((i) => sweep.columns[state.x][i]));
  const pad = 0.06 * (high - low);
  const up = flat
    ? { at: (v) => (v - low + pad) / (high - low + 2 * pad), ticks: steps(low, high), known: [] }
    : axis(chosen.map((i) => sweep.columns[state.y][i]));
  const px = (v) => box.left + across.at(v) * (box.right - box.left);
  const py = (v) => box.bottom - up.at(v) * (box.bottom - box.top);

  pen.strokeStyle = ink("--line");
  pen.fillStyle = ink("--soft");
  pen.textAlign = "center";
  const room = Math.max(1, Math.ceil((46 * across.ticks.length) / (box.right - box.left)));
  across.ticks.forEach((v, i) => { if (i % room === 0) pen.fillText(shown(v), px(v), box.bottom + 17); });
  pen.fillText(symbol(state.x), (box.left + box.right) / 2, height - 8);
  pen.textAlign = "right";
  for (const v of up.ticks) {
    pen.fillText(shown(v), box.left - 8, py(v) + 4);
    if (flat) { pen.beginPath(); pen.moveTo(box.left, py(v)); pen.lineTo(box.right, py(v)); pen.stroke(); }
  }
  pen.save();
  pen.translate(13, (box.top + box.bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(flat ? "mAP" : symbol(state.y), 0, 0);
  pen.restore();

  if (flat) points(pen, sweep, chosen, px, py, across);
  else if (across.grid && up.grid) cells(pen, sweep, chosen, box, across, up, low, high);
  else {
    for (const i of chosen) {
      pen.fillStyle = colour((scores[i] - low) / (high - low));
      pen.fillRect(px(sweep.columns[state.x][i]) - 3, py(sweep.columns[state.y][i]) - 3, 6, 6);
      hits.push({ x: px(sweep.columns[state.x][i]) - 4, y: py(sweep.columns[state.y][i]) - 4, w: 8, h: 8, rows: [i] });
    }
  }
  if (!flat) legend(pen, box, low, high, ink("--soft"));
  summary(sweep, chosen, scores);
  table(sweep);
  canvas.dataset.drawn = String(chosen.length);
  canvas.dataset.ms = (performance.now() - began).toFixed(1);
}

/* mAP against one name: every result, and the mean of every value; a colour for each code length. */
function points(pen, sweep, chosen, px, py, across) {
  const lengths = unique(chosen.map((i) => sweep.columns.bits[i]));
  const scores = sweep.map[state.direction];
  lengths.forEach((bits, k) => {
    const own = chosen.filter((i) => sweep.columns.bits[i] === bits);
    pen.fillStyle = LINES[k % LINES.length];
    pen.globalAlpha = own.length > 400 ? 0.35 : 0.6;
    for (const i of own) {
      const [x, y] = [px(sweep.columns[state.x][i]), py(scores[i])];
      pen.fillRect(x - 2.5, y - 2.5, 5, 5);
      hits.push({ x: x - 4, y: y - 4, w: 8, h: 8, rows: [i] });
    }
    pen.globalAlpha = 1;
    if (across.grid) {
      const groups = new Map();
      for (const i of own) groups.set(sweep.columns[state.x][i], [...(groups.get(sweep.columns[state.x][i]) || []), scores[i]]);
      pen.strokeStyle = LINES[k % LINES.length];
      pen.lineWidth = 2;
      pen.beginPath();
      for (const v of across.known) if (groups.has(v)) pen.lineTo(px(v), py(mean(groups.get(v))));
      pen.stroke();
      pen.lineWidth = 1;
    }
    if (lengths.length > 1) {
      pen.textAlign = "left";
      pen.fillText(`${bits} bits`, 66 + 70 * k, 12);
    }
  });
}

/* One cell a pair of values that was computed; pairs that were not stay empty. */
function cells(pen, sweep, chosen, box, across, up, low, high) {
  const scores = sweep.map[state.direction];
  const w = (box.right - box.left) / across.known.length;
  const h = (box.bottom - box.top) / up.known.length;
  const groups = new Map();
  for (const i of chosen) {
    const key = `${sweep.columns[state.x][i]}|${sweep.columns[state.y][i]}`;
    if (groups.has(key)) groups.get(key).push(i);
    else groups.set(key, [i]);
  }
  let best = null;
  for (const found of groups.values()) {
    const value = mean(found.map((i) => scores[i]));
    const x = box.left + (across.at(sweep.columns[state.x][found[0]]) - 0.5 / across.known.length) * (box.right - box.left);
    const y = box.bottom - (up.at(sweep.columns[state.y][found[0]]) + 0.5 / up.known.length) * (box.bottom - box.top);
    const share = (value - low) / (high - low);
    const gap = w > 6 && h > 6 ? 1 : 0;
    pen.fillStyle = colour(share);
    pen.fillRect(x + gap / 2, y + gap / 2, w - gap, h - gap);
    if (w > 38 && h > 16) {
      pen.fillStyle = share > 0.6 ? "#000" : "#fff";
      pen.textAlign = "center";
      pen.fillText(value.toFixed(3), x + w / 2, y + h / 2 + 4);
    }
    hits.push({ x, y, w, h, rows: found });
    if (!best || value > best.value) best = { value, x, y };
  }
  pen.strokeStyle = "#D55E00";
  pen.lineWidth = 2.5;
  pen.strokeRect(best.x + 1, best.y + 1, w - 2, h - 2);
  pen.lineWidth = 1;
}

function legend(pen, box, low, high, ink) {
  const tall = box.bottom - box.top;
  for (let i = 0; i < 100; i++) {
    pen.fillStyle = colour(1 - i / 99);
    pen.fillRect(box.right + 16, box.top + (i * tall) / 100, 12, tall / 100 + 1);
  }
  pen.fillStyle = ink;
  pen.textAlign = "left";
  pen.fillText(high.toFixed(3), box.right + 32, box.top + 10);
  pen.fillText(low.toFixed(3), box.right + 32, box.bottom);
  pen.fillText("mAP", box.right + 32, (box.top + box.bottom) / 2);
}

function told(sweep, found) {
  const scores = found.map((i) => sweep.map[state.direction][i]);
  const values = sweep.vary.map((v) => {
    const known = unique(found.map((i) => sweep.columns[v.name][i]));
    return known.length === 1 ? `${v.symbol} = ${shown(known[0])}` : `${known.length} values of ${v.symbol}`;
  });
  const seeds = unique(found.map((i) => sweep.columns.seed[i]));
  const spread = found.length > 1 ? ` ± ${deviation(scores).toFixed(4)}` : "";
  const lengths = unique(found.map((i) => sweep.columns.bits[i]));
  return `mAP ${mean(scores).toFixed(4)}${spread} at ${values.join(", ")}, ${lengths.join(" and ")} bits (${found.length === 1 ? `seed ${seeds[0]}` : `${found.length} results, ${seeds.length} seeds`})`;
}

/* The setting of the highest mAP, mean over its seeds; values that are best by the mean over the others may differ. */
function summary(sweep, chosen, scores) {
  const settings = new Map();
  for (const i of chosen) {
    const key = [...sweep.vary.map((v) => sweep.columns[v.name][i]), sweep.columns.bits[i]].join("|");
    if (settings.has(key)) settings.get(key).push(i);
    else settings.set(key, [i]);
  }
  let best = null;
  for (const found of settings.values()) {
    const value = mean(found.map((i) => scores[i]));
    if (!best || value > best.value) best = { value, found };
  }
  byId("readout").replaceChildren(make("b", { textContent: String(chosen.length) }), ` results. Best over all settings: ${told(sweep, best.found)}.`);
}

function table(sweep) {
  const found = sweep.importance[sweep.kinds[state.kind]][state.direction];
  const body = Object.entries(found.names).sort((a, b) => b[1].share - a[1].share).map(([name, facts]) =>
    make("tr", {}, make("th", { textContent: sweep.vary.find((v) => v.name === name).symbol }),
      ...[`${(100 * facts.share).toFixed(1)} %`, facts.range.toFixed(4), shown(facts.best)].map((text) => make("td", { textContent: text }))));
  const seeds = found.seeds === null ? "one seed a point" : found.seeds.toFixed(4);
  body.push(make("tr", {}, make("th", { textContent: "seed (standard deviation)" }), make("td"), make("td", { textContent: seeds }), make("td")));
  const head = make("tr", {}, ...["hyper-parameter", "share of variance", "range of means", "best value, averaged over the others"].map((text, i) => make("th", { textContent: text, className: i ? "" : "corner" })));
  byId("importance").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

byId("plane").onpointermove = byId("plane").onclick = (event) => {
  const place = event.target.getBoundingClientRect();
  const [x, y] = [event.clientX - place.left, event.clientY - place.top];
  const found = hits.findLast((hit) => x >= hit.x && x <= hit.x + hit.w && y >= hit.y && y <= hit.y + hit.h);
  if (found) byId("readout").textContent = told(D.sweeps[state.sweep], found.rows);
};
let wait = 0;
window.addEventListener("resize", () => { cancelAnimationFrame(wait); wait = requestAnimationFrame(draw); });
start();
draw();
