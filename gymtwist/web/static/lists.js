// The first page, with the sessions that run and the limits, and the pages of datasets and of the last errors.
import { cards, count, element, fill, get, megabytes, number, seconds, share, table } from "./dom.js";

const address = ({ number }) => `#/sessions/${number}`;
const SESSION_COLUMNS = [
  { title: "Session", value: (row) => String(row.number), link: address },
  { title: "Environment", value: (row) => (row.environment || "none") + (row.node ? ` on ${row.node}` : "") },
  { title: "Client", value: (row) => (row.identity ? `${row.client} as ${row.identity}` : row.client) },
  { title: "Protocol", value: (row) => row.protocol },
  { title: "State", value: (row) => row.state },
  { title: "Age", value: (row) => seconds(row.age), number: true },
  { title: "Steps", value: (row) => count(row.steps), number: true },
  { title: "Steps/s", value: (row) => count(row.steps_per_second), number: true },
  { title: "Episodes", value: (row) => count(row.episodes), number: true },
  { title: "Last return", value: (row) => number(row.last_return), number: true },
  { title: "Memory", value: (row) => megabytes(row.memory), number: true },
  { title: "Processor", value: (row) => seconds(row.processor_time), number: true },
];
const MOST_ROWS = 200;

export function sessions(content) {
  const list = table("", SESSION_COLUMNS);
  const limits = element("dl", { class: "cards" });
  content.append(element("h1", {}, "Sessions"), list.scroll, element("h2", {}, "Server"), limits);
  return {
    async refresh(status) {
      const rows = (await get("/api/sessions")).sessions.sort((one, other) => other.number - one.number);
      fill(list.body, SESSION_COLUMNS, rows.slice(0, MOST_ROWS), (row) => row.number);
      const more = rows.length > MOST_ROWS ? `; the last ${MOST_ROWS} are shown` : "";
      const caption = rows.length ? `${share(status.sessions)} sessions are running${more}` : "No sessions are running.";
      if (list.caption.textContent !== caption) list.caption.textContent = caption;
      cards(limits, [
        ["Sessions (--max-sessions)", share(status.sessions)],
        ["Queue (--queue)", share(status.queue)],
        ...(status.handshakes ? whole(status) : []),
        ["Uptime", seconds(status.uptime)],
      ]);
    },
  };
}

// How full a node is: "3 of 16 sessions, 3 of 16 CPU, 1.5 of 2 GPU".
function room(node) {
  const resources = Object.entries(node.resources).map(([name, { taken, limit }]) => `${number(taken)} of ${number(limit)} ${name}`);
  return [`${share(node.sessions)} sessions`, ...resources, ...(node.resting ? ["resting"] : [])].join(", ");
}

// What only an identity is told that sees the sessions of all.
function whole(status) {
  return [
    ["Handshakes (--max-handshakes)", share(status.handshakes)],
    ["Open files", share(status.open_files)],
    ["Idle workers", count(status.idle_workers)],
    ["Fork server", status.fork_server === null ? "not used" : status.fork_server ? "runs" : "does not run"],
    ...status.nodes.map((node) => [`Node ${node.name}`, room(node)]),
    ...status.waiting.map((each) => [`Waiting for ${each.environment || "no environment"}`, `${each.count}: ${each.lack}`]),
    ["Steps in all", count(status.steps)],
    ["Episodes in all", count(status.episodes)],
    ["Sessions ended", count(status.sessions_ended)],
    ["Crashes", count(status.crashes)],
    ["Refusals", count(Object.values(status.refusals).reduce((sum, each) => sum + each, 0))],
    ["Server's memory", megabytes(status.memory)],
  ];
}

const ERROR_COLUMNS = [
  { title: "Time", value: (row) => new Date(1000 * row.time).toLocaleTimeString() },
  { title: "Kind", value: (row) => row.kind },
  { title: "Session", value: (row) => (row.session === null ? "–" : String(row.session)) },
  { title: "Client", value: (row) => row.client },
  { title: "Environment", value: (row) => row.environment || "–" },
  { title: "Problem", value: (row) => row.message, long: true },
];

export function errors(content) {
  const list = table("", ERROR_COLUMNS);
  content.append(element("h1", {}, "Last errors"), list.scroll);
  return {
    async refresh() {
      const rows = (await get("/api/errors")).errors.map((row, index) => ({ ...row, index })).reverse();
      fill(list.body, ERROR_COLUMNS, rows, (row) => `${row.time} ${row.index}`);
      list.caption.textContent = rows.length ? "The newest first." : "There have been none since the server started.";
    },
  };
}

const DATASET_COLUMNS = [
  { title: "Dataset", value: (row) => row.name },
  { title: "Environment", value: (row) => row.environment ?? "–" },
  { title: "Episodes", value: (row) => count(row.episodes), number: true },
  { title: "Steps", value: (row) => count(row.steps), number: true },
  { title: "Size", value: (row) => megabytes(row.bytes), number: true },
  { title: "Changed", value: (row) => new Date(1000 * row.modified).toLocaleString() },
  { title: "State", value: (row) => (row.complete ? "complete" : "being recorded") },
  { title: "Archive", value: () => "Download", link: (row) => `/api/datasets/${encodeURI(row.name)}.tar` },
];

export function datasets(content) {
  const list = table("", DATASET_COLUMNS);
  content.append(element("h1", {}, "Datasets"), list.scroll);
  return {
    async refresh() {
      const rows = (await get("/api/datasets")).datasets;
      fill(list.body, DATASET_COLUMNS, rows.slice(0, MOST_ROWS), (row) => row.name);
      const more = rows.length > MOST_ROWS ? ` The first ${MOST_ROWS} of ${rows.length} are shown.` : "";
      const caption = rows.length ? `Unpack an archive among your own datasets of Minari.${more}` : "Nothing has been recorded.";
      if (list.caption.textContent !== caption) list.caption.textContent = caption;
    },
  };
}
