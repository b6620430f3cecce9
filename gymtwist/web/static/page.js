// The page: it shows what the hash of its address names, and asks the server again each second while it is visible.
import { get } from "./dom.js";
import { environment, environments } from "./environments.js";
import { datasets, errors, sessions } from "./lists.js";
import { play } from "./play.js";
import { session } from "./session.js";

const INTERVAL = 1000;
const content = document.getElementById("content");
const connection = document.getElementById("connection");
let shown = { refresh: async () => {}, leave: () => {} };

const views = [
  [/^#?\/?$/, sessions],
  [/^#\/datasets$/, datasets],
  [/^#\/errors$/, errors],
  [/^#\/environments$/, environments],
  [/^#\/environments\/(.+)$/, environment],
  [/^#\/play\/(.+)$/, play],
  [/^#\/sessions\/(\d+)$/, session],
];

function show() {
  shown.leave();
  const hash = location.hash === "#content" ? "" : location.hash;
  const [pattern, view] = views.find(([each]) => each.test(hash)) ?? views[0];
  content.replaceChildren();
  shown = { refresh: async () => {}, leave: () => {}, ...view(content, ...(hash.match(pattern) ?? []).slice(1).map(decodeURIComponent)) };
  document.title = `${content.querySelector("h1").textContent} – gymtwist`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === hash || (link.hash === "#/" && view === sessions)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  refresh();
}

async function refresh() {
  const asked = shown;
  try {
    const status = await get("/api/status");
    document.getElementById("server").textContent = `${status.version.replace("gymtwist ", "")} · ${status.state}`;
    connection.textContent = "";
    if (asked === shown) await asked.refresh(status);
  } catch (error) {
    connection.textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  }
}

addEventListener("hashchange", () => {
  if (location.hash === "#content") return content.focus();
  show();
  content.focus();
});
setInterval(() => document.visibilityState === "visible" && refresh(), INTERVAL);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
show();
