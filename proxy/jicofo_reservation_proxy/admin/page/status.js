// Refreshes the page while it is visible. Scroll, focus and open details stay as they are.
"use strict";
const EVERY_MS = 5000;
const lost = document.getElementById("lost");
let lastAnswer = new Date();

function isSelecting(part) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function replace(part, fresh) {
  if (part.innerHTML === fresh.innerHTML || isSelecting(part)) return;
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  const scrolled = [...part.querySelectorAll(".scroll")].map((each) => [each.id, each.scrollLeft, each.scrollTop]);
  part.className = fresh.className;
  part.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  if (document.hidden) return;
  try {
    const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("header, main > section")) {
      const found = fresh.getElementById(part.id);
      if (found) replace(part, found);
    }
    document.title = fresh.title;
    lastAnswer = new Date();
    lost.hidden = true;
  } catch {
    lost.textContent = `✗ The proxy does not answer any more. This page shows its status of ${lastAnswer.toISOString()}.`;
    document.title = "Lost – jicofo-reservation-proxy";
    lost.hidden = false;
  }
}

async function repeat() {
  await refresh();
  setTimeout(repeat, EVERY_MS);
}

document.addEventListener("visibilitychange", refresh);
setTimeout(repeat, EVERY_MS);
