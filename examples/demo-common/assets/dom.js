// Elements and requests of the demos' pages. Every text comes in through `textContent`: nothing of a request, a model or an agent
// is parsed as HTML.

export const $ = (id) => document.getElementById(id);

/** Builds an element: properties, `data` and `attributes`, then children (nodes or texts). */
export function el(name, properties = {}, ...children) {
  const { data, attributes, ...rest } = properties;
  const node = Object.assign(document.createElement(name), rest);
  Object.assign(node.dataset, data);
  for (const [key, value] of Object.entries(attributes ?? {})) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

/** Options of a request that sends JSON. */
export function jsonRequest(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** Requests JSON, with a body by POST. Throws the error that the page was told. */
export async function fetchJson(path, body) {
  const response = await fetch(path, body && jsonRequest(body));
  const type = response.headers.get("content-type") ?? "";
  const content = type.includes("json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(content.error || `status ${response.status}`);
  return content;
}

/** Returns the last two segments of a SPIFFE id (task and instance), which may break after the slash and nowhere else. */
export function shortId(id) {
  const segments = String(id).split("/");
  const shown = el("span", { className: "id", title: id });
  if (segments.length < 3) shown.append(id);
  else shown.append(`${segments.at(-2)}/`, el("wbr"), segments.at(-1));
  return shown;
}

/** Returns a text that may break after each match of a pattern and nowhere else. */
export function breakable(text, after) {
  const shown = el("span");
  for (const part of String(text).split(new RegExp(`(?<=${after})`))) shown.append(part, el("wbr"));
  return shown;
}

/** Formats a number with its noun. */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** Scrolls an element into view if `below` lies in the lower half of the window or beneath it. */
export function scrollIfFar(element, below) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (below.getBoundingClientRect().top > innerHeight / 2) element.scrollIntoView({ behavior: still ? "auto" : "smooth" });
}

/** Marks the button that was pressed among those of a selector. */
export function markCurrent(selector, isCurrent) {
  for (const button of document.querySelectorAll(selector)) {
    if (isCurrent(button)) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** Formats the time until a Unix time in seconds. */
export function timeLeft(expiresAt) {
  const seconds = Math.max(0, Math.ceil(expiresAt - Date.now() / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
}

/** Makes the tabs of the page work by mouse and keyboard. `shown` gets the panel's id. The address keeps the tab. */
export function setUpTabs(shown) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const select = (tab, focus) => {
    for (const other of tabs) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      $(other.getAttribute("aria-controls")).hidden = !selected;
    }
    if (focus) tab.focus();
    const name = tab.id.replace("tab-", "");
    history.replaceState(null, "", `#${name}`);
    shown(name);
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(tabs[(to + tabs.length) % tabs.length], true);
    });
  }
  const named = tabs.find((tab) => tab.id === `tab-${location.hash.slice(1)}`);
  if (named && named !== tabs[0]) select(named);
}
