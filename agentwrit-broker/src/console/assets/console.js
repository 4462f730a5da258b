// Refreshes the parts of a page that have `data-refresh`: seconds between two requests. A request for a part with `data-newest` is
// answered once there is an event after that one. Every page works without this script.
"use strict";

const REFRESH_HEADER = "agentwrit-refresh";
const NEWEST_HEADER = "agentwrit-newest";

// Returns the box that pauses the refreshes of a part.
function switchOf(part) {
  return document.querySelector(`[data-pauses="${part.id}"]`);
}

async function refresh(part) {
  const headers = { [REFRESH_HEADER]: "1" };
  if (part.dataset.newest) headers[NEWEST_HEADER] = part.dataset.newest;
  const response = await fetch(location.href, { headers, redirect: "manual" });
  if (!response.ok) {
    // The session has ended, or the broker is away: the page stays as it is, and says so.
    part.setAttribute("data-stale", "");
    return response.type === "opaqueredirect" ? null : part;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(part.id);
  if (!fresh) return null;
  if (switchOf(part)?.checked === false) return part;
  const open = part.contains(document.activeElement) ? document.activeElement : null;
  if (open && open.matches("input, textarea, select, button")) return part;
  const focused = open && open.getAttribute("href");
  const next = document.adoptNode(fresh);
  // The element itself stays, so that screen readers announce what changes in it.
  part.replaceChildren(...next.childNodes);
  part.removeAttribute("data-stale");
  if (next.dataset.newest) part.dataset.newest = next.dataset.newest;
  if (focused) [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  if (!next.dataset.refresh) return null;
  return part;
}

function schedule(part) {
  const seconds = Number(part.dataset.refresh);
  if (!part.id || !(seconds > 0)) return;
  setTimeout(async () => {
    let next = part;
    if (!document.hidden && switchOf(part)?.checked !== false) {
      try {
        next = await refresh(part);
      } catch {
        part.setAttribute("data-stale", "");
      }
    }
    if (next) schedule(next);
  }, seconds * 1000);
}

for (const box of document.querySelectorAll("[data-pauses]")) box.closest("label").hidden = false;
for (const part of document.querySelectorAll("[data-refresh]")) schedule(part);
