// Refreshes the parts of a page that have `data-refresh`: seconds between two requests. Every page works without it.
"use strict";

const REFRESH_HEADER = "agentwrit-refresh";

async function refresh(part) {
  const response = await fetch(location.href, { headers: { [REFRESH_HEADER]: "1" }, redirect: "manual" });
  if (!response.ok) {
    // The session has ended, or the broker is away: the page stays as it is, and says so.
    part.setAttribute("data-stale", "");
    return response.type === "opaqueredirect" ? null : part;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(part.id);
  if (!fresh) return null;
  const open = part.contains(document.activeElement) ? document.activeElement : null;
  if (open && open.matches("input, textarea, select, button")) return part;
  const focused = open && open.getAttribute("href");
  const next = document.adoptNode(fresh);
  // The element itself stays, so that screen readers announce what changes in it.
  part.replaceChildren(...next.childNodes);
  part.removeAttribute("data-stale");
  if (focused) [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  if (!next.dataset.refresh) return null;
  return part;
}

function schedule(part) {
  const seconds = Number(part.dataset.refresh);
  if (!part.id || !(seconds > 0)) return;
  setTimeout(async () => {
    let next = part;
    if (!document.hidden) {
      try {
        next = await refresh(part);
      } catch {
        part.setAttribute("data-stale", "");
      }
    }
    if (next) schedule(next);
  }, seconds * 1000);
}

for (const part of document.querySelectorAll("[data-refresh]")) schedule(part);
