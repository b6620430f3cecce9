// The environments that can be had, and one of them with its spaces and specification.
import { cards, element, fill, get, number, table } from "./dom.js";

const COLUMNS = [
  { title: "Environment", value: (row) => row.id, link: (row) => `#/environments/${encodeURIComponent(row.id)}` },
  { title: "Library", value: (row) => row.library },
  { title: "Longest episode", value: (row) => (row.max_episode_steps ? `${row.max_episode_steps} steps` : "–"), number: true },
  { title: "Solved at", value: (row) => number(row.reward_threshold), number: true },
];
const MOST_ROWS = 200;
let found;

export function environments(content) {
  const list = table("", COLUMNS);
  const search = element("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false" });
  const form = element("form", { role: "search" }, element("label", { for: "search" }, "Search"), search);
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fitting = found.filter((each) => words.every((word) => `${each.id} ${each.library}`.toLowerCase().includes(word)));
    fill(list.body, COLUMNS, fitting.slice(0, MOST_ROWS), (row) => row.id);
    const more = fitting.length > MOST_ROWS ? `; the first ${MOST_ROWS} are shown` : "";
    list.caption.textContent = `${fitting.length} of ${found.length} environments${more}`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", () => found && show());
  content.append(element("h1", {}, "Environments"), form, list.scroll);
  list.caption.textContent = "Asking…";
  get("/api/environments").then(
    (answer) => {
      found = answer.environments;
      show();
    },
    (error) => (list.caption.textContent = error.message),
  );
  return {};
}

// A space, shortly, as Python would write it.
export function described(space) {
  const list = (value) => JSON.stringify(value).replaceAll(",", ", ");
  switch (space?.kind) {
    case undefined:
      return "–";
    case "Discrete":
      return `Discrete(${space.n}${space.start ? `, start=${space.start}` : ""})`;
    case "Box":
      return `Box(${list(space.shape)}, ${space.dtype})`;
    case "MultiBinary":
      return `MultiBinary(${list(space.n)})`;
    case "MultiDiscrete":
      return `MultiDiscrete(${list(space.nvec)})`;
    case "Tuple":
      return `Tuple(${space.spaces.map(described).join(", ")})`;
    case "Dict":
      return `Dict(${space.spaces.map(([key, each]) => `${key}: ${described(each)}`).join(", ")})`;
    default:
      return space.kind;
  }
}

export function environment(content, id) {
  const list = element("dl", { class: "cards" });
  const words = element("p", { role: "status" }, "Making it once to see its spaces…");
  const more = element("pre", { tabindex: "0", role: "region", "aria-label": "Everything that is known of it", hidden: "" });
  content.append(
    element("h1", {}, id),
    element("p", {}, element("a", { href: `#/play/${encodeURIComponent(id)}` }, "Play it")),
    words,
    list,
    more,
  );
  get(`/api/environments/${encodeURIComponent(id)}`).then(
    (made) => {
      words.hidden = true;
      cards(list, [
        ["Actions", described(made.action_space)],
        ["Observations", described(made.observation_space)],
        ["Longest episode", made.spec?.max_episode_steps ? `${made.spec.max_episode_steps} steps` : "no limit"],
        ["Solved at", number(made.spec?.reward_threshold)],
        ["Render modes", (made.metadata?.render_modes ?? []).join(", ") || "–"],
      ]);
      more.textContent = JSON.stringify(made, null, 2);
      more.hidden = false;
    },
    (error) => {
      words.textContent = error.message;
      words.className = "bad";
    },
  );
  return {};
}
