// Script of the pages. Every text comes in through `textContent`: nothing of a request, a patient, a model or an agent is
// parsed as HTML.

import { verifyChain } from "./audit-chain.js";

const $ = (id) => document.getElementById(id);

/** Builds an element: properties, then children (nodes or texts). */
function el(name, properties = {}, ...children) {
  const { data, attributes, ...rest } = properties;
  const node = Object.assign(document.createElement(name), rest);
  Object.assign(node.dataset, data);
  for (const [key, value] of Object.entries(attributes ?? {})) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

async function fetchJson(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const type = response.headers.get("content-type") ?? "";
  const content = type.includes("json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(content.error || `status ${response.status}`);
  return content;
}

// ---- Tabs ----

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, focus) {
  for (const other of tabs) {
    const selected = other === tab;
    other.setAttribute("aria-selected", String(selected));
    other.tabIndex = selected ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !selected;
  }
  if (focus) tab.focus();
  const page = tab.id.replace("tab-", "");
  history.replaceState(null, "", `#${page}`);
  if (page === "audit") loadAudit();
  if (page === "operator") loadOperator();
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[(to + tabs.length) % tabs.length], true);
  });
}

// ---- Encounter ----

let cards = new Map();
let encounterId;
let running;

/** Returns the last two segments of a SPIFFE id (task and instance), which may break after the slash and nowhere else. */
function shortId(id) {
  const segments = String(id).split("/");
  const shown = el("span", { className: "id", title: id });
  if (segments.length < 3) shown.append(id);
  else shown.append(`${segments.at(-2)}/`, el("wbr"), segments.at(-1));
  return shown;
}

/** Returns a text that may break after each underscore. */
function breakable(text) {
  const shown = el("span");
  for (const part of String(text).split(/(?<=_)/)) shown.append(part, el("wbr"));
  return shown;
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
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
  const met = rule.http_status !== 403;
  return el("div", { className: `rule ${met ? "met" : "unmet"}` },
    el("p", {}, el("code", { textContent: rule.route }), ` responded ${rule.http_status}`),
    rule.needed && el("p", {}, "needs ", el("code", { className: "needed", textContent: rule.needed }), met ? " · held" : " · not held"),
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
    $("answer").textContent = step.fields[0].value;
    $("answer-panel").hidden = false;
  }
}

function stateOf(card) {
  return card.state === "live" && card.expires_at * 1000 <= Date.now() ? "expired" : card.state;
}

function timeLeft(card) {
  const seconds = Math.max(0, Math.ceil(card.expires_at - Date.now() / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
}

function showCards() {
  $("no-cards").hidden = cards.size > 0;
  $("cards").replaceChildren(...[...cards.values()].map((card) => {
    const state = stateOf(card);
    return el("li", { className: `card ${card.category}`, data: { key: card.key, state } },
      el("p", { className: "card-head" }, el("strong", { textContent: card.parent ? `${card.category}, delegated` : card.category }), el("span", { className: `tag ${state}`, textContent: state }),
        el("span", { className: "left", textContent: state === "live" ? timeLeft(card) : "" })),
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
    if (state === "live") node.querySelector(".left").textContent = timeLeft(card);
  }
  for (const node of document.querySelectorAll("#holders .time")) node.textContent = timeLeft({ expires_at: Number(node.dataset.expires) });
}
setInterval(tick, 1000);

/** Asks for the states of credentials that were left live. */
async function refreshCards() {
  if (running || !encounterId || ![...cards.values()].some((card) => stateOf(card) === "live")) return;
  try {
    const states = await fetchJson(`/api/encounters/${encounterId}/cards`);
    for (const [key, state] of Object.entries(states)) cards.get(key).state = state;
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
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if ($("trace").getBoundingClientRect().top > innerHeight / 2) $("state").scrollIntoView({ behavior: still ? "auto" : "smooth" });
  const started = performance.now();
  try {
    const response = await fetch("/api/encounters", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal: abort.signal });
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
    $("state").textContent = abort.signal.aborted ? "Stopped: the agents are released." : `Failed: ${error.message}`;
    if (abort.signal.aborted) {
      for (const card of cards.values()) if (card.state === "live") card.state = "released";
      showCards();
    }
  } finally {
    if (running === abort) {
      running = undefined;
      $("stop").hidden = true;
    }
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
  for (const button of document.querySelectorAll("#scenarios button")) {
    if (button.dataset.scenario === scenario.name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
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

// ---- Audit ----

const PER_PAGE = 50;
let events = [];
let broken;
let place = 0;

async function loadAudit() {
  $("chain").className = "notice";
  $("chain").textContent = "Loading …";
  try {
    const loaded = [];
    let cursor;
    do {
      const page = await fetchJson(`/api/audit${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
      loaded.push(...page.events);
      cursor = page.next_cursor;
      $("chain").textContent = `Loading: ${loaded.length} of ${page.total} events`;
    } while (cursor);
    events = loaded;
    const result = await verifyChain(events);
    broken = result.broken;
    $("chain").className = `notice ${broken ? "bad" : "good"}`;
    $("chain").textContent = broken
      ? `The chain is broken at ${broken.id}: ${broken.reason}. ${result.verified} events before it hold.`
      : `The chain holds: ${result.verified} events, recomputed in this browser. Its head is ${result.head}`;
    const types = [...new Set(events.map((event) => event.event_type))].sort();
    const chosen = $("audit-type").value;
    $("audit-type").replaceChildren(el("option", { value: "", textContent: "all" }), ...types.map((type) => el("option", { textContent: type })));
    $("audit-type").value = types.includes(chosen) ? chosen : "";
    place = 0;
    showEvents();
  } catch (error) {
    $("chain").className = "notice bad";
    $("chain").textContent = error.message;
  }
}

function showEvents() {
  const [type, outcome, text] = [$("audit-type").value, $("audit-outcome").value, $("audit-text").value.toLowerCase()];
  const matches = (event) => (!type || event.event_type === type) && (!outcome || event.outcome === outcome)
    && (!text || Object.values(event).some((value) => String(value).toLowerCase().includes(text)));
  const found = events.filter(matches).reverse();
  place = Math.max(0, Math.min(place, Math.floor((found.length - 1) / PER_PAGE) * PER_PAGE));
  const shown = found.slice(place, place + PER_PAGE);
  const cell = (label, shown, className = "", title = "") => el("td", { className, title, data: { label } }, shown);
  $("events").replaceChildren(...shown.map((event) => el("tr", { className: event.id === broken?.id ? "broken" : "" },
    el("th", { scope: "row", className: "id", textContent: event.id }),
    cell("Time", event.timestamp.slice(11, 23), "", event.timestamp), cell("Type", breakable(event.event_type)), cell("Subject", event.agent_id && shortId(event.agent_id)),
    cell("Task", event.task_id, "id"), el("td", { data: { label: "Outcome" } }, el("span", { className: `tag ${event.outcome}`, textContent: event.outcome })),
    cell("Detail", event.detail, "detail"), cell("Hash", `${event.hash.slice(0, 12)}…`, "id", `hash ${event.hash}, of the event before ${event.prev_hash}`))));
  $("audit-place").textContent = found.length ? `${place + 1} to ${place + shown.length} of ${found.length}, the newest first` : "No event matches.";
  $("newer").disabled = place === 0;
  $("older").disabled = place + PER_PAGE >= found.length;
}

$("audit-filter").addEventListener("submit", (event) => { event.preventDefault(); loadAudit(); });
for (const id of ["audit-type", "audit-outcome", "audit-text"]) $(id).addEventListener("input", () => { place = 0; showEvents(); });
$("newer").addEventListener("click", () => { place -= PER_PAGE; showEvents(); });
$("older").addEventListener("click", () => { place += PER_PAGE; showEvents(); });

// ---- Operator ----

const seconds = (time) => (typeof time === "number" ? time : Date.parse(time) / 1000);

async function loadOperator() {
  try {
    const overview = await fetchJson("/api/operator");
    $("operator-error").hidden = true;
    const { health } = overview;
    const tile = (name, value) => el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value }));
    $("health").replaceChildren(tile("status", health.status), tile("version", health.version), tile("uptime", `${health.uptime} s`),
      tile("database", health.db_connected ? "connected" : "lost"), tile("audit events", health.audit_events_count), tile("live tokens", overview.tokens.length));
    $("ceiling").replaceChildren(...(overview.app?.scopes ?? []).map((scope) => el("li", { className: `scope ${category(scope)}`, textContent: scope })));
    $("holders-count").textContent = overview.tokens.length ? "Live tokens of this app's agents." : "No agent of this app holds a live token: run a scenario that leaves its agents live.";
    // A delegated token stands below the one that it came from.
    const order = (token) => `${token.task_id} ${token.delegated_by ? 1 : 0}`;
    $("holders").replaceChildren(...overview.tokens.sort((a, b) => order(a).localeCompare(order(b))).map((token) => {
      const button = el("button", { type: "button", className: "quiet", textContent: "Revoke…", attributes: { "aria-label": `Revoke ${token.delegated_by ? "delegated " : ""}${token.task_id}…` } });
      button.addEventListener("click", () => {
        $("level").value = token.delegated_by ? "token" : "chain";
        $("target").value = token.delegated_by ? token.jti : token.sub;
        $("reason").focus();
        revoke(true);
      });
      const cell = (label, ...children) => el("td", { data: { label } }, ...children);
      return el("tr", {}, el("th", { scope: "row", textContent: token.delegated_by ? `${token.task_id}, delegated` : token.task_id }), cell("Agent", shortId(token.sub)),
        cell("Scopes", scopeList(token.scope ?? [])), el("td", { className: "time", textContent: timeLeft({ expires_at: seconds(token.expires_at) }), data: { label: "Time left", expires: seconds(token.expires_at) } }), cell("Action", button));
    }));
  } catch (error) {
    $("operator-error").textContent = error.message;
    $("operator-error").hidden = false;
  }
}

async function revoke(dryRun) {
  const note = $("revoked");
  note.hidden = false;
  try {
    const request = { level: $("level").value, target: $("target").value, reason: $("reason").value, dry_run: dryRun };
    const result = await fetchJson("/api/revocations", request);
    const affected = result.agents === null || result.agents === undefined ? "" : ` of ${count(result.agents, "agent")} in ${count(result.tasks, "task")}`;
    note.className = `notice ${result.known ? (dryRun ? "" : "good") : "bad"}`;
    note.textContent = !result.known ? "The broker does not know this target: nothing is revoked." : dryRun
      ? `Dry run: ${count(result.tokens, "live token")}${affected} would end. Nothing is revoked yet.` : `Revoked: ${count(result.tokens, "live token")} ended.`;
    if (!dryRun) {
      await loadOperator();
      await refreshCards();
    }
  } catch (error) {
    note.className = "notice bad";
    note.textContent = error.message;
  }
}

// The page of an operator shows what is live now. A row that has the focus is left in place.
setInterval(() => {
  if (!document.hidden && !$("panel-operator").hidden && !$("holders").contains(document.activeElement)) loadOperator();
}, 5000);

$("revoke").addEventListener("submit", (event) => {
  event.preventDefault();
  revoke(event.submitter?.value !== "revoke");
});

setUp().catch((error) => { $("state").textContent = `The page could not be set up: ${error.message}`; });
const named = $(`tab-${location.hash.slice(1)}`);
if (named && location.hash !== "#encounter") select(named);
