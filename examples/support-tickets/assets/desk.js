// Script of the desk.

import { $, breakable, el, fetchJson, markCurrent, scrollIfFar, setUpTabs } from "./dom.js";
import { markdown } from "./markdown.js";
import { buildAudit, buildOperator, loadAudit, loadOperator } from "./operator.js";

const agents = new Map();
let source = null;
let ticking = null;

const element = (tag, className = "", text = "") => el(tag, { className, textContent: text });

function line(event, tone, word, text) {
  const item = element("li", tone);
  const said = element("span", "said");
  said.append(element("span", "word", word), text);
  item.append(element("time", "", `${(event.at_ms / 1000).toFixed(2)} s`), said);
  append($("stream"), item);
}

// Appends to a list, and keeps the end in view for a reader who is there.
function append(list, item) {
  const follows = list.scrollTop + list.clientHeight >= list.scrollHeight - 40;
  list.append(item);
  if (follows) list.scrollTop = list.scrollHeight;
}

function scopeCard(event, verdict, rule, result) {
  const card = element("li", verdict);
  const head = element("div", "head");
  head.append(element("span", "verdict", `${verdict} ${event.status}`), element("span", "", event.tool));
  card.append(head, element("span", "rule", rule), element("small", "mono clamped", `${event.role}: ${event.request}`));
  if (result) {
    const shown = element("small", "clamped", result);
    shown.title = result;
    card.append(shown);
  }
  if (event.by) card.append(element("small", "", `refused by the ${event.by}`));
  append($("scopes"), card);
}

function agentCard(event) {
  const card = element("li", "active");
  const head = element("div", "head");
  const state = element("span", "state", "active");
  head.append(element("span", "", `${event.role} agent`), state);
  const left = element("small", "left");
  const tags = element("div", "tags");
  for (const scope of event.scopes) tags.append(element("code", "", scope));
  const bar = element("progress");
  bar.max = event.ttl;
  bar.setAttribute("aria-label", `Time left of the ${event.role} token`);
  card.append(head, el("small", { className: "mono id" }, breakable(event.agent_id, "/")), left, bar, tags);
  $("agents").append(card);
  agents.set(event.agent_id, { card, state, left, bar, expiresAt: event.expires_at, ended: false });
  tick();
}

function tick() {
  const now = Date.now() / 1000;
  for (const agent of agents.values()) {
    if (agent.ended) continue;
    const left = Math.max(0, agent.expiresAt - now);
    agent.bar.value = left;
    agent.left.textContent = `${Math.ceil(left)} s left`;
    if (left === 0) end(agent, "expired");
  }
}

function end(agent, how) {
  agent.ended = true;
  agent.card.className = how;
  agent.state.textContent = how;
  agent.bar.remove();
  const reasons = { expired: "expired, nothing released it", revoked: "revoked by the operator", released: "released, its work was done" };
  agent.left.textContent = reasons[how] ?? how;
}

const show = {
  started(event) {
    $("mail-title").textContent = `${event.ticket}: ${event.subject}`;
    $("mail-sender").textContent = `from ${event.sender} · task ${event.task}`;
    $("mail-text").textContent = event.text;
    $("mails").hidden = false;
    // The stream lies far below the buttons, unless the window is tall.
    scrollIfFar($("mails"), $("stream"));
    line(event, "info", "ticket", `${event.ticket} was filed`);
  },
  agent_created(event) {
    agentCard(event);
    line(event, "good", "agent", `${event.role} registered for ${event.ttl} s: ${event.scopes.join(", ")}`);
  },
  validated(event) {
    line(event, event.valid ? "good" : "bad", "token", `${event.role} token is ${event.valid ? "valid" : "invalid"} at the broker`);
  },
  triaged(event) {
    const needs = [event.needs_knowledge && "knowledge", event.needs_response && "a response"].filter(Boolean);
    line(event, "info", "triage", `${event.priority} ${event.category}, needs ${needs.join(" and ") || "nothing"}. ${event.summary}`);
  },
  model(event) { line(event, "info", "model", `${event.role}: ${event.text}`); },
  tool_called(event) { line(event, "info", "tool", `${event.tool} ${JSON.stringify(event.arguments)}`); },
  allowed(event) {
    line(event, "good", "allowed", `${event.status} ${event.request}`);
    scopeCard(event, "allowed", `within ${event.scope}`, event.result);
  },
  refused(event) {
    line(event, "bad", "refused", `${event.status} by the ${event.by}: ${event.rule}`);
    scopeCard(event, "refused", event.rule);
  },
  gate(event) {
    line(event, event.customer ? "good" : "bad", "identity", event.customer ? `${event.customer}: ${event.rule}` : `not verified: ${event.rule}`);
  },
  waiting(event) { line(event, "warn", "waiting", `nothing releases the ${event.role} token: it expires by itself`); },
  ended(event) {
    const agent = agents.get(event.agent_id);
    if (agent) end(agent, event.how);
    line(event, { expired: "warn", revoked: "bad" }[event.how] ?? "info", event.how, `${event.role} token`);
  },
  proof(event) {
    const agent = agents.get(event.agent_id);
    const text = `${event.service_status} at the service, ${event.broker_valid ? "valid" : "invalid"} at the broker`;
    if (agent) agent.left.textContent += `; proof: ${text}`;
    line(event, event.rejected ? "good" : "bad", "proof", `${event.role} token: ${text}`);
  },
  reply(event) {
    $("reply").replaceChildren(...markdown(event.text));
    line(event, "info", "reply", "sent to the customer");
  },
  failed(event) { line(event, "bad", "failed", event.error); },
  finished(event) {
    const outcomes = { answered: "Answered", not_verified: "Stopped at the identity gate", expired: "Token expired by itself", token_ended: "Stopped by the end of a token", failed: "Failed" };
    const isBad = event.outcome === "failed" || event.outcome === "token_ended";
    const proof = `${event.rejected} of ${event.tokens} tokens rejected at the end`;
    $("outcome").textContent = `${outcomes[event.outcome]}, ${proof}`;
    line(event, isBad ? "bad" : "good", "done", proof);
    stop(isBad ? "failed" : "done", `${outcomes[event.outcome]}, ${proof}`);
  },
};

function stop(tone, text) {
  if (source) source.close();
  source = null;
  clearInterval(ticking);
  live(tone, text);
  for (const button of document.querySelectorAll("#panel-desk button")) button.disabled = false;
}

function live(tone, text) {
  $("live").className = `live ${tone}`;
  $("live").textContent = text;
}

async function start(request) {
  for (const button of document.querySelectorAll("#panel-desk button")) button.disabled = true;
  for (const id of ["agents", "stream", "scopes"]) $(id).replaceChildren();
  $("mails").hidden = true;
  $("reply").replaceChildren();
  $("outcome").textContent = "not written yet";
  markCurrent("[data-ticket]", (button) => button.dataset.ticket === request.ticket);
  for (const hint of document.querySelectorAll(".empty")) hint.hidden = true;
  agents.clear();
  live("running", "Running");
  try {
    const { run } = await fetchJson("/runs", request);
    ticking = setInterval(tick, 200);
    source = new EventSource(`/runs/${run}/events`);
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (Object.hasOwn(show, event.type)) show[event.type](event);
    };
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) stop("failed", "The connection to the desk ended");
    };
  } catch (error) {
    // A `TypeError` is the browser's word for a request without a response.
    stop("failed", error instanceof TypeError ? "The desk cannot be reached" : error.message);
  }
}

for (const button of document.querySelectorAll("[data-ticket]")) {
  button.addEventListener("click", () => start({ ticket: button.dataset.ticket }));
}
$("own").addEventListener("submit", (event) => {
  event.preventDefault();
  start({
    sender: $("sender").value, authenticated: $("authenticated").checked, subject: $("subject").value,
    text: $("text").value, expires: $("expires").checked,
  });
});

const scopeList = (scopes) => el("div", { className: "tags" }, ...scopes.map((scope) => element("code", "", scope)));
buildAudit($("panel-audit"));
buildOperator($("panel-operator"), scopeList);
setUpTabs((name) => {
  if (name === "audit") loadAudit();
  if (name === "operator") loadOperator();
});
