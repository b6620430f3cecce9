// The page of one session: what it does, its returns, the live view, and what it printed.
import { cards, count, element, get, megabytes, number, seconds } from "./dom.js";
import { LiveView } from "./live_view.js";
import { plot } from "./plot.js";

export function session(content, name) {
  const list = element("dl", { class: "cards" });
  const returns = element("div");
  const printed = element("pre", { tabindex: "0", role: "region", "aria-label": "What the session printed" });
  const view = new LiveView(name);
  const heading = element("h1", {}, `Session ${name}`);
  const columns = element("div", { class: "columns" });
  columns.append(
    element("section", { "aria-label": "Live view" }, element("h2", {}, "Live view"), view.controls, view.picture),
    element("section", { "aria-label": "Returns" }, element("h2", {}, "Returns"), returns),
  );
  content.append(heading, list, columns, element("h2", {}, "Output"), printed);
  let [drawn, over] = [-1, false];
  return {
    leave: () => view.stop(),
    async refresh() {
      if (over) return;
      let row;
      try {
        row = await get(`/api/sessions/${name}`);
      } catch (error) {
        if (error.code !== "no-session") throw error;
        over = true;
        heading.textContent = `Session ${name} is not running`;
        view.stop(error.message);
        return;
      }
      heading.textContent = `Session ${name}: ${row.environment || "no environment"}`;
      over = row.state === "ended";
      if (over) view.stop("The session has ended.");
      cards(list, [
        ["State", over ? `ended: ${row.ended}` : row.state],
        ["Client", `${row.client} (${row.protocol})`],
        ["Age", seconds(row.age)],
        ["Steps", `${count(row.steps)} (${count(row.steps_per_second)}/s)`],
        ["Episodes", count(row.episodes)],
        ["Last return", number(row.last_return)],
        ["Memory", megabytes(row.memory)],
        ["Processor time", seconds(row.processor_time)],
        row.node ? ["Node", row.node] : ["Process", row.process === null ? "–" : String(row.process)],
      ]);
      if (row.episodes !== drawn) {
        drawn = row.episodes;
        returns.replaceChildren(plot(row.last_episodes));
      }
      const text = row.output.join("\n") || "Nothing yet.";
      if (printed.textContent !== text) printed.textContent = text;
    },
  };
}
