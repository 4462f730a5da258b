// 1. Refreshes the parts of a page that have `data-refresh`: seconds between two requests. A request for a part with `data-newest`, its
//    version, is answered once there is another one. The broker lengthens the pause if it can't make the request wait.
// 2. Leads to the sign-in page when the session has ended. No request of this script keeps it alive.
//
// Every page works without this script.
"use strict";

const REFRESH_HEADER = "agentwrit-refresh";
const NEWEST_HEADER = "agentwrit-newest";
// Seconds until a request that failed is repeated.
const RETRY = 2;

// Returns the box that pauses the refreshes of a part.
function switchOf(part) {
  return document.querySelector(`[data-pauses="${part.id}"]`);
}

// Requests a page. Returns none if the session has ended, which the sign-in page then says.
async function request(address, headers = {}) {
  const response = await fetch(address, { headers: { ...headers, [REFRESH_HEADER]: "1" }, redirect: "manual" });
  if (response.ok) return response;
  if (response.type !== "opaqueredirect" && response.status !== 401) throw new Error(`status ${response.status}`);
  const next = encodeURIComponent(location.pathname + location.search);
  location.replace(`/console/sign-in?ended=1&next=${next}`);
  return null;
}

// Replaces the content of a part with that of a new page. Returns true if there is another refresh to wait for.
async function refresh(part) {
  const response = await request(location.href, part.dataset.newest ? { [NEWEST_HEADER]: part.dataset.newest } : {});
  if (!response) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(part.id);
  if (!fresh) return false;
  part.removeAttribute("data-stale");
  if (switchOf(part)?.checked === false) return true;
  const open = part.contains(document.activeElement) ? document.activeElement : null;
  if (open && open.matches("input, textarea, select, button")) return true;
  const focused = open && open.getAttribute("href");
  const next = document.adoptNode(fresh);
  // The element itself stays, so that screen readers announce what changes in it.
  part.replaceChildren(...next.childNodes);
  if (next.dataset.newest) part.dataset.newest = next.dataset.newest;
  if (focused) [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  if (next.dataset.refresh) part.dataset.refresh = next.dataset.refresh;
  return Boolean(next.dataset.refresh);
}

function schedule(part, seconds) {
  if (!part.id || !(seconds > 0)) return;
  setTimeout(async () => {
    if (document.hidden || switchOf(part)?.checked === false) return schedule(part, Math.max(1, seconds));
    try {
      if (await refresh(part)) schedule(part, Number(part.dataset.refresh));
    } catch {
      part.setAttribute("data-stale", "");
      schedule(part, Math.max(RETRY, seconds));
    }
  }, seconds * 1000);
}

// Asks whether the session has ended, and again when it will have: requests of other pages keep it alive.
async function watchSession() {
  let left = RETRY;
  try {
    const response = await request("/console/session");
    if (!response) return;
    left = Number(await response.text());
  } catch {
    // The broker does not respond.
  }
  expectEnd(left);
}

let ending;
function expectEnd(seconds) {
  clearTimeout(ending);
  ending = setTimeout(watchSession, (seconds + 1) * 1000);
}

for (const box of document.querySelectorAll("[data-pauses]")) box.closest("label").hidden = false;
for (const part of document.querySelectorAll("[data-refresh]")) schedule(part, Number(part.dataset.refresh));
if (document.body.dataset.session) {
  expectEnd(Number(document.body.dataset.session));
  // Timers stand still while a computer sleeps.
  document.addEventListener("visibilitychange", () => document.hidden || watchSession());
}
