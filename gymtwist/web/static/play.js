// Play an environment by the keyboard.
import { element } from "./dom.js";

export function play(content, id) {
  content.append(element("h1", {}, `Play ${id}`), element("p", { class: "faint" }, "Not yet."));
  return {};
}
