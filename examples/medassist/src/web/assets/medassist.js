// Script of the pages.

import { $, count, el, fetchJson, jsonRequest, markCurrent, scrollIfFar, setUpTabs, shortId, timeLeft } from "./dom.js";
import { markdown } from "./markdown.js";
import { buildAudit, buildOperator, loadAudit, loadOperator } from "./operator.js";

// ---- Encounter ----

let cards = new Map();
let encounterId;
let running;

const category = (scope) => (/^[a-z]+:(records|labs|notes)/.test(scope) ? "clinical" : /prescription|formulary|interactions/.test(scope) ? "prescription" : /billing|insurance|claims/.test(scope) ? "billing" : "other");

function scopeList(scopes, needed) {
  return el("ul", { className: "scopes" }, ...scopes.map((scope) => el("li", { className: `scope ${category(scope)}${scope === needed ? " match" : ""}`, textContent: scope })));
}

function valueNode(value) {
  if (Array.isArray(value) && value.every((entry) => typeof entry === "string")) {
    return value.length && value.every((entry) => /^[a-z]+:[a-z-]+:/.test(entry)) ? scopeList(value) : el("span", { textContent: value.join(", ") });
  }
  if (value !== null && typeof value === "object") {
    return el("pre", { textContent: JSON.stringify(value, null, 1), tabIndex: 0 });
  }
  return el("span", { textContent: String(value) });
}

function ruleNode(rule) {
  const [verdict, text] = { true: ["met", " · held"], false: ["unmet", " · not held"], null: ["", ""] }[rule.is_held];
  return el("div", { className: `rule ${verdict}` },
    el("p", {}, el("code", { textContent: rule.route }), ` responded ${rule.http_status}`),
    rule.needed && el("p", {}, "needs ", el("code", { className: "needed", textContent: rule.needed }), text),
    el("div", {}, el("span", { className: "soft", textContent: "token holds " }), scopeList(rule.held, rule.needed)));
}

function showStep(step) {
  $("no-trace").hidden = true;
  const details = step.fields.length > 0 || step.rule;
  const head = [
    el("span", { className: "number", textContent: step.number }),
    el("span", { className: `tag ${step.status}`, textContent: step.kind.replaceAll("_", " ") }),
    el("span", { className: "title", textContent: step.title }),
    el("span", { className: "soft time", textContent: `${step.at_ms} ms` }),
  ];
  const open = step.status === "denied" || step.kind === "delegated" || step.kind === "revoked";
  const body = details && el("div", { className: "details" }, step.rule && ruleNode(step.rule),
    el("dl", {}, ...step.fields.flatMap((field) => [el("dt", { textContent: field.name }), el("dd", {}, valueNode(field.value))])));
  $("trace").append(el("li", { className: `step ${step.status}`, data: { kind: step.kind, status: step.status } },
    details ? el("details", { open }, el("summary", {}, ...head), body) : el("div", { className: "line" }, ...head)));
  for (const card of step.cards) cards.set(card.key, card);
  if (step.cards.length) showCards();
  if (step.kind === "answer") {
    $("answer").replaceChildren(...markdown(step.fields[0].value));
    $("answer-panel").hidden = false;
  }
}

function stateOf(card) {
  return card.state === "live" && card.expires_at * 1000 <= Date.now() ? "expired" : card.state;
}

function showCards() {
  $("no-cards").hidden = cards.size > 0;
  $("cards").replaceChildren(...[...cards.values()].map((card) => {
    const state = stateOf(card);
    return el("li", { className: `card ${card.category}`, data: { key: card.key, state } },
      el("p", { className: "card-head" }, el("strong", { textContent: card.parent ? `${card.category}, delegated` : card.category }), el("span", { className: `tag ${state}`, textContent: state }),
        el("span", { className: "left", textContent: state === "live" ? timeLeft(card.expires_at) : "" })),
      el("p", {}, shortId(card.agent_id)),
      card.token_id && el("p", { className: "soft" }, "token ", el("span", { className: "id", textContent: card.token_id })),
      scopeList(card.scopes));
  }));
  $("tree").replaceChildren(...cardTree());
  $("delegation").hidden = cards.size === 0;
}

/** Returns the list entries of the tree: the app's agents, and what each delegated. */
function cardTree() {
  const entry = (card) => el("li", {},
    el("span", { className: `tag ${stateOf(card)}`, textContent: stateOf(card) }), ` ${card.parent ? `${card.category} (delegated ${card.scopes.join(", ")})` : card.category}`,
    children(card.key));
  const children = (key) => {
    const entries = [...cards.values()].filter((card) => card.parent === key && key !== undefined).map(entry);
    return entries.length ? el("ul", {}, ...entries) : undefined;
  };
  const roots = [...cards.values()].filter((card) => !card.parent).map(entry);
  return [el("li", {}, "app medassist", el("ul", {}, ...roots))];
}

function tick() {
  for (const node of document.querySelectorAll("#cards > li")) {
    const card = cards.get(node.dataset.key);
    const state = stateOf(card);
    if (state !== node.dataset.state) return showCards();
    if (state === "live") node.querySelector(".left").textContent = timeLeft(card.expires_at);
  }
}
setInterval(tick, 1000);

/** Asks for the states of credentials that were left live. */
async function refreshCards() {
  if (running || !encounterId || ![...cards.values()].some((card) => stateOf(card) === "live")) return;
  try {
    const states = await fetchJson(`/api/encounters/${encounterId}/cards`);
    for (const [key, state] of Object.entries(states)) if (cards.has(key)) cards.get(key).state = state;
    showCards();
  } catch {
    encounterId = undefined; // The program was restarted: its tokens expire.
  }
}
setInterval(refreshCards, 2000);

async function runEncounter(request) {
  running?.abort();
  const abort = new AbortController();
  running = abort;
  cards = new Map();
  encounterId = undefined;
  $("trace").replaceChildren();
  $("answer-panel").hidden = true;
  showCards();
  $("state").textContent = "Running …";
  $("stop").hidden = false;
  // The trace lies far below the buttons, unless the window is tall.
  scrollIfFar($("state"), $("trace"));
  const started = performance.now();
  try {
    const response = await fetch("/api/encounters", { ...jsonRequest(request), signal: abort.signal });
    if (!response.ok) throw new Error((await response.json()).error);
    for await (const { event, data } of serverSentEvents(response.body)) {
      if (event === "encounter") encounterId = data.id;
      if (event === "step") showStep(data);
    }
    if (running !== abort) return;
    const steps = $("trace").children.length;
    const denied = document.querySelectorAll("#trace > .denied").length;
    $("state").textContent = `Complete: ${count(steps, "step")}, ${denied} refused, ${((performance.now() - started) / 1000).toFixed(1)} s.`;
  } catch (error) {
    if (running !== abort) return;
    $("state").textContent = abort.signal.aborted ? "Stopping …" : `Failed: ${error.message}`;
    if (abort.signal.aborted) await settle();
  } finally {
    if (running === abort) {
      running = undefined;
      $("stop").hidden = true;
    }
  }
}

/** Shows the states of the credentials once an encounter that was stopped has ended. */
async function settle() {
  const id = encounterId;
  try {
    const states = id ? await fetchJson(`/api/encounters/${id}/cards`) : {};
    if (id !== encounterId) return;
    for (const [key, state] of Object.entries(states)) if (cards.has(key)) cards.get(key).state = state;
    showCards();
    const live = Object.values(states).filter((state) => state === "live").length;
    $("state").textContent = live ? `Stopped: ${count(live, "token")} could not be released, and will expire.` : "Stopped: the agents are released.";
  } catch (error) {
    $("state").textContent = `Stopped. The states of the agents are not known: ${error.message}`;
  }
}

async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffered = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffered += value;
    const blocks = buffered.split("\n\n");
    buffered = blocks.pop();
    for (const block of blocks) {
      const member = (name) => block.split("\n").filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart()).join("\n");
      if (member("data")) yield { event: member("event"), data: JSON.parse(member("data")) };
    }
  }
}

function formRequest() {
  return {
    patient_id: $("patient-id").value.trim() || $("patient").value,
    request: $("request").value,
    takeover: $("takeover").checked,
    keep_agents: $("keep").checked,
  };
}

$("encounter").addEventListener("submit", (event) => {
  event.preventDefault();
  runEncounter(formRequest());
});
$("patient").addEventListener("change", () => { $("patient-id").value = ""; });
$("stop").addEventListener("click", () => running?.abort());

function useScenario(scenario) {
  const known = [...$("patient").options].some((option) => option.value === scenario.patient_id);
  if (known) $("patient").value = scenario.patient_id;
  $("patient-id").value = known ? "" : scenario.patient_id;
  $("request").value = scenario.request;
  $("takeover").checked = scenario.takeover;
  markCurrent("#scenarios button", (button) => button.dataset.scenario === scenario.name);
  runEncounter(formRequest());
}

async function setUp() {
  const setup = await fetchJson("/api/setup");
  $("model").textContent = setup.model;
  $("model").classList.toggle("planner", !setup.is_language_model);
  $("patient").replaceChildren(...setup.patients.map((patient) => el("option", { value: patient.id, textContent: `${patient.id} ${patient.name}, ${patient.ward}` })));
  $("scenarios").replaceChildren(...setup.scenarios.map((scenario) => {
    const hint = el("p", { id: `explains-${scenario.name}`, textContent: scenario.explanation });
    const button = el("button", { type: "button", textContent: scenario.title, data: { scenario: scenario.name }, attributes: { "aria-describedby": hint.id } });
    button.addEventListener("click", () => useScenario(scenario));
    return el("li", { className: scenario.is_refusal ? "refusal" : "" }, button, hint);
  }));
  $("request").value = setup.scenarios[0].request;
}

buildAudit($("panel-audit"));
buildOperator($("panel-operator"), scopeList, refreshCards);
setUpTabs((name) => {
  if (name === "audit") loadAudit();
  if (name === "operator") loadOperator();
});
setUp().catch((error) => { $("state").textContent = `The page could not be set up: ${error.message}`; });
