"use strict";
const byId = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
};
let facts = {};
let last = 0; /* only the answers to what was asked last are shown */

const unit = (answer) => ("distance" in answer ? `${answer.distance} of ${facts.bits} bits differ` : `score ${answer.score.toFixed(2)}`);

function hit(answer, equals) {
  const own = make("li", { className: "hit" }, make("div", { className: "mark" },
    make("span", { textContent: equals > 1 ? `${answer.rank} =` : String(answer.rank), title: equals > 1 ? `${equals} are equally near` : "" }),
    make("span", { textContent: unit(answer) })));
  if (facts.pictured) {
    const picture = make("img", { className: "picture", src: `/thumbnail?item=${encodeURIComponent(answer.item)}`, alt: "" });
    picture.onerror = () => picture.remove();
    own.append(picture);
  }
  own.append(make("div", { className: "name", textContent: String(answer.item) }));
  if (answer.text) own.append(make("div", { className: "words", textContent: answer.text, title: answer.text }));
  if (answer.labels.length) own.append(make("div", { className: "tags", textContent: answer.labels.join(", ") }));
  return own;
}

async function show(asked, described, picture = null) {
  const number = ++last;
  const summary = byId("summary");
  summary.className = "summary";
  summary.textContent = "searching";
  byId("query").replaceChildren(...(picture ? [make("img", { src: URL.createObjectURL(picture), alt: "the picture that is asked for" })] : []));
  let told;
  try {
    const response = await asked();
    told = await response.json();
  } catch (failure) {
    told = { error: "the server does not answer" };
  }
  if (number !== last) return;
  const answers = told.answers || [];
  const counts = {};
  for (const answer of answers) counts[answer.rank] = (counts[answer.rank] || 0) + 1;
  byId("found").replaceChildren(...answers.map((answer) => hit(answer, counts[answer.rank])));
  summary.className = told.error ? "summary failed" : "summary";
  summary.textContent = told.error || `The nearest ${answers.length} of ${told.items.toLocaleString("en")} items to ${described}.`;
}

const count = () => encodeURIComponent(byId("k").value || "10");
const words = (text) => show(() => fetch(`/search?text=${encodeURIComponent(text)}&k=${count()}`), `“${text}”`);
const picture = (file) => show(() => fetch(`/search?k=${count()}`, { method: "POST", body: file }), "this picture", file);

byId("asked").onsubmit = (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (text) words(text);
};
byId("picture").onchange = (event) => { if (event.target.files.length) picture(event.target.files[0]); event.target.value = ""; };
for (const kind of ["dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) picture(event.dataTransfer.files[0]);
  });
}
fetch("/about").then((response) => response.json()).then((told) => {
  facts = told;
  byId("about").textContent = `${told.items.toLocaleString("en")} items in codes of ${told.bits} bits (${told.method}). Nothing that is asked leaves this machine.`;
  const ask = (word) => { byId("text").value = word; words(word); };
  if (told.examples.length) byId("examples").append("Try ", ...told.examples.map((word) => make("button", { type: "button", textContent: word, onclick: () => ask(word) })));
  const text = new URLSearchParams(location.search).get("text");
  if (text) ask(text);
});
