// A plot of returns. What it shows is also said in words, for those who cannot see it.
import { element, number } from "./dom.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, EDGE] = [600, 220, 56, 14];

function shape(name, attributes, text = "") {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

export function plot(episodes) {
  if (!episodes.length) return element("p", { class: "faint" }, "No episode has ended yet.");
  const values = episodes.map((each) => each.return);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const span = most - least || 1;
  const x = (index) => LEFT + ((WIDTH - LEFT - EDGE) * index) / Math.max(1, values.length - 1);
  const y = (value) => HEIGHT - 24 - ((HEIGHT - 24 - EDGE) * (value - least)) / span;
  const words =
    `Returns of the episodes ${episodes[0].number} to ${episodes.at(-1).number}: ` +
    `mean ${number(mean)}, from ${number(least)} to ${number(most)}, the last one ${number(values.at(-1))}.`;
  const svg = shape("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  for (const value of most === least ? [least] : [least, (least + most) / 2, most]) {
    svg.append(shape("line", { x1: LEFT, x2: WIDTH - EDGE, y1: y(value), y2: y(value) }));
    svg.append(shape("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  svg.append(shape("text", { x: LEFT, y: HEIGHT - 6 }, `episode ${episodes[0].number}`));
  svg.append(shape("text", { x: WIDTH - EDGE, y: HEIGHT - 6, "text-anchor": "end" }, `episode ${episodes.at(-1).number}`));
  svg.append(shape("polyline", { points: values.map((value, index) => `${x(index)},${y(value)}`).join(" ") }));
  for (const [index, value] of values.entries()) svg.append(shape("circle", { cx: x(index), cy: y(value), r: 3 }));
  return element("figure", { class: "figure" }, svg, element("figcaption", { class: "faint" }, words));
}
