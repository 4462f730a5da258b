// The operator's two panels: the audit trail, whose chain this browser verifies, and revocation.

import { verifyChain } from "./audit-chain.js";
import { $, breakable, count, el, fetchJson, shortId, timeLeft } from "./dom.js";

const PER_PAGE = 50;
let events = [];
let broken;
let place = 0;

const labelled = (text, control) => el("div", {}, el("label", { htmlFor: control.id, textContent: text }), control);
const option = (value, text = value, selected = false) => el("option", { value, textContent: text, selected });
const columns = (...names) => el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col", textContent: name }))));
const cell = (label, properties, ...children) => el("td", { ...properties, data: { label } }, ...children);

function scrolled(label, ...children) {
  return el("div", { className: "scroll", tabIndex: 0, attributes: { role: "region", "aria-label": label } }, ...children);
}

/** Builds the panel of the audit trail. */
export function buildAudit(panel) {
  const filter = el("form", { className: "filter" },
    labelled("Type", el("select", { id: "audit-type" }, option("", "all"))),
    labelled("Outcome", el("select", { id: "audit-outcome" }, option("", "all"), option("success"), option("denied"))),
    labelled("Contains", el("input", { id: "audit-text", autocomplete: "off" })),
    el("div", { className: "actions" }, el("button", { textContent: "Load and verify" })));
  const turn = (id, text, by) => {
    const button = el("button", { type: "button", id, className: "quiet", textContent: text });
    button.addEventListener("click", () => { place += by; showEvents(); });
    return button;
  };
  panel.append(
    el("h1", { textContent: "Audit" }),
    el("p", { className: "hint", textContent: "Your browser recomputes the SHA-256 of every event and follows the chain from the first one." }),
    filter,
    el("p", { id: "chain", className: "notice", textContent: "Not verified yet.", attributes: { role: "status" } }),
    scrolled("Events", el("table", { className: "events" },
      columns("Event", "Time", "Type", "Subject", "Task", "Outcome", "Detail", "Hash"), el("tbody", { id: "events" }))),
    el("div", { className: "pages" }, turn("newer", "Newer", -PER_PAGE), el("span", { id: "audit-place" }), turn("older", "Older", PER_PAGE)));
  filter.addEventListener("submit", (event) => { event.preventDefault(); loadAudit(); });
  for (const id of ["audit-type", "audit-outcome", "audit-text"]) {
    $(id).addEventListener("input", () => { place = 0; showEvents(); });
  }
}

/** Loads the whole trail and verifies its chain. */
export async function loadAudit() {
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
    $("audit-type").replaceChildren(option("", "all"), ...types.map((type) => option(type)));
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
  $("events").replaceChildren(...shown.map(eventRow));
  $("audit-place").textContent = found.length ? `${place + 1} to ${place + shown.length} of ${found.length}, the newest first` : "No event matches.";
  $("newer").disabled = place === 0;
  $("older").disabled = place + PER_PAGE >= found.length;
}

function eventRow(event) {
  const shown = (label, content, className = "", title = "") => cell(label, { className, title }, content);
  return el("tr", { className: event.id === broken?.id ? "broken" : "" },
    el("th", { scope: "row", className: "id", textContent: event.id }),
    shown("Time", event.timestamp.slice(11, 23), "", event.timestamp),
    shown("Type", breakable(event.event_type, "_")),
    shown("Subject", event.agent_id && shortId(event.agent_id)),
    shown("Task", event.task_id, "id"),
    shown("Outcome", el("span", { className: `tag ${event.outcome}`, textContent: event.outcome })),
    shown("Detail", event.detail, "detail"),
    shown("Hash", `${event.hash.slice(0, 12)}…`, "id", `hash ${event.hash}, of the event before ${event.prev_hash}`));
}

let scopeList;
let revoked;

/** Builds the panel of the operator. `scopes` formats a list of scopes; `afterwards` is called after a revocation. */
export function buildOperator(panel, scopes, afterwards) {
  [scopeList, revoked] = [scopes, afterwards];
  const level = el("select", { id: "level" }, option("token", "token: one session"), option("agent", "agent: all its tokens"),
    option("task", "task: all tokens of a task"), option("chain", "chain: an agent and all it delegated", true));
  const form = el("form", { id: "revoke" },
    labelled("Level", level),
    labelled("Target", el("input", { id: "target", required: true, autocomplete: "off" })),
    labelled("Reason, for the trail", el("input", { id: "reason", autocomplete: "off", maxLength: 200 })),
    el("div", { className: "actions" },
      el("button", { value: "preview", className: "quiet", textContent: "Dry run" }), " ",
      el("button", { value: "revoke", className: "danger", textContent: "Revoke" })));
  const titled = (id, title, ...children) => el("section", { attributes: { "aria-labelledby": id } }, el("h2", { id, textContent: title }), ...children);
  panel.append(
    el("h1", { textContent: "Operator" }),
    el("p", { id: "operator-error", className: "notice bad", hidden: true, attributes: { role: "alert" } }),
    el("dl", { id: "health", className: "figures" }),
    el("div", { className: "halves" },
      titled("revoke-title", "Revoke", form, el("p", { id: "revoked", className: "notice", hidden: true, attributes: { role: "status" } })),
      titled("ceiling-title", "Ceiling of the app", el("p", { className: "hint", textContent: "No agent of this app can hold more." }), el("div", { id: "ceiling" }))),
    el("h2", { id: "holders-title", textContent: "Who holds what" }),
    el("p", { id: "holders-count", className: "hint" }),
    scrolled("Live tokens", el("table", { attributes: { "aria-labelledby": "holders-title" } },
      columns("Task", "Agent", "Scopes", "Time left", "Action"), el("tbody", { id: "holders" }))));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    revoke(event.submitter?.value !== "revoke");
  });
  // The panel shows what is live now.
  setInterval(() => {
    if (!document.hidden && !panel.hidden) loadOperator();
  }, 2000);
  setInterval(() => {
    for (const node of document.querySelectorAll("#holders .time")) node.textContent = timeLeft(Number(node.dataset.expires));
  }, 1000);
}

/** Loads health, ceiling and live tokens. */
export async function loadOperator() {
  try {
    const overview = await fetchJson("/api/operator");
    $("operator-error").hidden = true;
    const { health } = overview;
    const tile = (name, value) => el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value }));
    $("health").replaceChildren(tile("status", health.status), tile("version", health.version), tile("uptime", `${health.uptime} s`),
      tile("database", health.db_connected ? "connected" : "lost"), tile("audit events", health.audit_events_count), tile("live tokens", `${overview.tokens.length}${overview.has_more ? " and more" : ""}`));
    $("ceiling").replaceChildren(scopeList(overview.app?.scopes ?? []));
    $("holders-count").textContent = overview.tokens.length
      ? `Live tokens of this app's agents${overview.has_more ? `, the oldest ${overview.tokens.length}` : ""}.`
      : "No agent of this app holds a live token.";
    // A delegated token stands below the one that it came from.
    const order = (token) => `${token.task_id} ${token.delegated_by ? 1 : 0}`;
    showHolders(overview.tokens.sort((a, b) => order(a).localeCompare(order(b))));
  } catch (error) {
    $("operator-error").textContent = error.message;
    $("operator-error").hidden = false;
  }
}

/** Shows tokens. The row of a token that is still live stays in place, so that it keeps the focus. */
function showHolders(tokens) {
  const live = new Set(tokens.map((token) => token.jti));
  for (const row of [...$("holders").children]) if (!live.has(row.dataset.jti)) row.remove();
  for (const [place, token] of tokens.entries()) {
    const next = $("holders").children[place];
    if (next?.dataset.jti !== token.jti) $("holders").insertBefore(holderRow(token), next ?? null);
  }
}

function holderRow(token) {
  const label = `Revoke ${token.delegated_by ? "delegated " : ""}${token.task_id}…`;
  const button = el("button", { type: "button", className: "quiet", textContent: "Revoke…", attributes: { "aria-label": label } });
  button.addEventListener("click", () => {
    $("level").value = token.delegated_by ? "token" : "chain";
    $("target").value = token.delegated_by ? token.jti : token.sub;
    $("reason").focus();
    revoke(true);
  });
  const expires = typeof token.expires_at === "number" ? token.expires_at : Date.parse(token.expires_at) / 1000;
  return el("tr", { data: { jti: token.jti } },
    el("th", { scope: "row", textContent: token.delegated_by ? `${token.task_id}, delegated` : token.task_id }),
    cell("Agent", {}, shortId(token.sub)),
    cell("Scopes", {}, scopeList(token.scope ?? [])),
    el("td", { className: "time", textContent: timeLeft(expires), data: { label: "Time left", expires } }),
    cell("Action", {}, button));
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
      await revoked?.();
    }
  } catch (error) {
    note.className = "notice bad";
    note.textContent = error.message;
  }
}
