"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const ARROWS = { i2t: "image → text", t2i: "text → image" };
const STEP = 12;
const unique = (values) => [...new Set(values)];
const byId = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
};

const configuration = (r) => `${r.method}, ${r.bits} bits`;
const state = {
  direction: D.rankings[0].direction, run: configuration(D.rankings[0]), database: D.rankings[0].database,
  other: "", sort: "mixed", label: "", text: "", shown: STEP,
};
const pick = (run) => D.rankings.find((r) => r.direction === state.direction && r.database === state.database && configuration(r) === run);

/* Which side is a picture: the first letter of the direction names the query's view, the last the answers'. */
const pictured = (items, letter) => letter === "i" && items.pictures.length > 0;

function chooser(name, key, options) {
  const select = make("select", { onchange: () => { state[key] = select.value; state.shown = STEP; render(); } });
  for (const [value, text] of options) select.append(make("option", { value, textContent: text }));
  select.value = state[key];
  return make("label", {}, name, select);
}

function controls() {
  const bar = byId("controls");
  const directions = unique(D.rankings.map((r) => r.direction));
  if (directions.length > 1) {
    const group = make("div", { className: "switch", role: "group", ariaLabel: "Direction" });
    for (const direction of directions) {
      group.append(make("button", {
        type: "button", textContent: ARROWS[direction] || direction.replace("->", " → "), value: direction,
        onclick: () => { state.direction = direction; state.shown = STEP; render(); },
      }));
    }
    bar.append(group);
  }
  const runs = unique(D.rankings.map(configuration)).map((run) => [run, run]);
  if (runs.length > 1) {
    bar.append(chooser("Method", "run", runs), chooser("Beside it", "other", [["", "nothing"], ...runs]));
  }
  const databases = unique(D.rankings.map((r) => r.database));
  if (databases.length > 1) bar.append(chooser("Database codes", "database", databases.map((d) => [d, d])));
  const orders = [["mixed", "mixed"], ["given", "as given"]];
  if (D.rankings.some((r) => r.ap)) orders.push(["worst", "worst AP first"], ["best", "best AP first"]);
  bar.append(chooser("Order", "sort", orders));
  if (D.queries.labels) {
    const used = unique(D.queries.labels.flat()).sort((a, b) => D.labels[a].localeCompare(D.labels[b]));
    bar.append(chooser("Label", "label", [["", "any"], ...used.map((l) => [String(l), D.labels[l]])]));
  }
  const search = make("input", { type: "search", placeholder: "in queries", oninput: () => { state.text = search.value.toLowerCase(); state.shown = STEP; render(); } });
  bar.append(make("label", {}, "Find", search));
}

function chosen(ranking) {
  const rows = D.queries.names.map((_, i) => i).filter((i) =>
    (state.label === "" || D.queries.labels[i].includes(Number(state.label))) &&
    (state.text === "" || `${D.queries.names[i]} ${D.queries.texts[i] || ""}`.toLowerCase().includes(state.text)));
  if (state.sort === "mixed") { /* neighbours in a data set resemble each other: steps of the golden ratio keep them apart */
    const place = (i) => (i * 0.6180339887) % 1;
    rows.sort((a, b) => place(a) - place(b));
  } else if (state.sort !== "given" && ranking.ap) {
    const sign = state.sort === "worst" ? 1 : -1;
    const rank = (i) => (ranking.ap[i] === null ? Infinity : sign * ranking.ap[i]);
    rows.sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) - rank(b)));
  }
  return rows;
}

const tags = (labels) => labels.map((l) => D.labels[l]).join(", ");
const image = (items, i) => make("img", { className: "picture", src: items.pictures[i], alt: items.names[i] });

function asked(i) {
  const show = pictured(D.queries, state.direction[0]);
  const box = make("div", { className: show ? "asked pictured" : "asked" });
  if (show) box.append(image(D.queries, i));
  else {
    box.append(make("strong", { textContent: D.queries.names[i] }));
    if (D.queries.texts.length) box.append(make("div", { className: "words", textContent: D.queries.texts[i], title: D.queries.texts[i] }));
  }
  if (D.queries.labels) box.append(make("div", { className: "tags", textContent: tags(D.queries.labels[i]) || "no label" }));
  return box;
}

function strip(ranking, i, headed) {
  const show = pictured(D.database, ranking.direction.slice(-1));
  const known = D.queries.labels && D.database.labels;
  const list = make("ol", { className: show ? "found" : "found worded" });
  ranking.ids[i].forEach((row, place) => {
    const shared = known ? D.queries.labels[i].filter((l) => D.database.labels[row].includes(l)) : [];
    const verdict = known ? (shared.length ? "right" : "wrong") : "";
    const score = ranking.scores[i][place];
    const unit = ranking.similarity ? `score ${score}` : `${score} of ${ranking.bits} bits differ`;
    const own = known ? tags(D.database.labels[row]) || "none" : "unknown";
    const hit = make("li", { className: `hit ${verdict}`, title: `${D.database.names[row]}: ${unit}; labels: ${own}` },
      make("div", { className: "mark" },
        make("span", { textContent: verdict === "right" ? "✓" : verdict === "wrong" ? "✕" : `${place + 1}`, ariaLabel: verdict }),
        make("span", { textContent: String(score) })));
    if (show) hit.append(image(D.database, row));
    else {
      hit.append(make("div", { className: "name", textContent: D.database.names[row] }));
      if (D.database.texts.length) hit.append(make("div", { className: "words", textContent: D.database.texts[row] }));
    }
    if (known) {
      const lines = shared.length > 2 ? [D.labels[shared[0]], `and ${shared.length - 1} more`] : shared.map((l) => D.labels[l]);
      hit.append(make("div", { className: "shared" }, ...(lines.length ? lines : ["no shared label"]).map((line) => make("div", { textContent: line }))));
    }
    list.append(hit);
  });
  const right = known ? ranking.ids[i].filter((row) => D.queries.labels[i].some((l) => D.database.labels[row].includes(l))).length : null;
  const head = make("h4");
  if (headed) head.append(make("b", { textContent: `${configuration(ranking)}  ` }));
  if (ranking.ap) head.append(ranking.ap[i] === null ? "no relevant item in the database" : `AP ${ranking.ap[i].toFixed(3)}`);
  if (right !== null) head.append(`${ranking.ap ? " · " : ""}${right} of ${ranking.ids[i].length} right`);
  return make("div", { className: "strip" }, head.textContent ? head : null, list);
}

function render() {
  const first = pick(state.run);
  const second = state.other && state.other !== state.run ? pick(state.other) : null;
  for (const button of document.querySelectorAll(".switch button")) button.setAttribute("aria-pressed", String(button.value === state.direction));
  const summary = byId("summary");
  if (!first) {
    summary.textContent = "Nothing was stored for this choice.";
    byId("queries").replaceChildren();
    byId("more").hidden = true;
    return;
  }
  const rows = chosen(first);
  const mean = (ranking) => {
    const values = rows.map((i) => ranking.ap[i]).filter((v) => v !== null);
    return values.length ? (values.reduce((a, b) => a + b, 0) / values.length).toFixed(3) : "-";
  };
  summary.replaceChildren(make("b", { textContent: String(rows.length) }), rows.length === 1 ? " query" : " queries");
  for (const ranking of [first, second]) {
    if (ranking && ranking.ap) summary.append(", mAP ", make("b", { textContent: mean(ranking) }), second ? ` (${configuration(ranking)})` : "");
  }
  const kind = state.database[0].toUpperCase() + state.database.slice(1).replace("_", " ");
  const scale = (r) => (r.similarity ? "its score: larger is closer" : "how many bits differ from the query's code: smaller is closer");
  const other = second && second.similarity !== first.similarity ? `; of ${configuration(second)}, ${scale(second)}` : "";
  summary.append(`. ${kind} database codes: ${D.hints[state.database] || ""}. The number on an answer is ${scale(first)}${other}.`);
  byId("queries").replaceChildren(...rows.slice(0, state.shown).map((i) => {
    const answers = make("div", {}, strip(first, i, Boolean(second)), second ? strip(second, i, true) : null);
    return make("article", { className: "query" }, asked(i), answers);
  }));
  const rest = rows.length - state.shown;
  byId("more").hidden = rest <= 0;
  byId("more").textContent = `Show ${Math.min(rest, STEP)} more of ${rest}`;
}

byId("more").onclick = () => { state.shown += STEP; render(); };
controls();
render();
