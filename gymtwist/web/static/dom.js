// Elements, and values as people read them. Text is always set as text: nothing that a client sent becomes HTML.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function table(caption, columns, className = "") {
  const head = element("tr");
  for (const { title, number } of columns) {
    head.append(element("th", { scope: "col", ...(number ? { class: "number" } : {}) }, title));
  }
  const body = element("tbody");
  const made = element("table", className ? { class: className } : {}, element("caption", {}, caption));
  made.append(element("thead", {}, head), body);
  return { scroll: element("div", { class: "scroll" }, made), body, caption: made.caption };
}

// Show a list in the rows of a table. Rows stay with their keys, so that the focus stays where it is.
export function fill(body, columns, items, key) {
  const rows = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const name = String(key(item));
    let row = rows.get(name);
    rows.delete(name);
    if (!row) {
      row = element("tr", { "data-key": name });
      for (const { number, long } of columns) row.append(element("td", { class: number ? "number" : long ? "long" : "" }));
    }
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    columns.forEach((column, at) => {
      const shown = column.value(item);
      const cell = row.cells[at];
      if (column.link) {
        const link = cell.firstElementChild ?? cell.appendChild(element("a"));
        if (link.textContent !== shown) link.textContent = shown;
        link.href = column.link(item);
      } else if (cell.textContent !== shown) cell.textContent = shown;
    });
  });
  for (const row of rows.values()) row.remove();
}

export function cards(list, values) {
  const known = new Map([...list.children].map((each) => [each.dataset.key, each]));
  for (const [name, value] of values) {
    let card = known.get(name);
    known.delete(name);
    if (!card) {
      card = element("div", { "data-key": name }, element("dt", {}, name), element("dd"));
      list.append(card);
    }
    if (card.lastChild.textContent !== value) card.lastChild.textContent = value;
  }
  for (const card of known.values()) card.remove();
}

export const count = (value) => Math.round(value).toLocaleString("en");

export function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 || Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} days`;
}

export const megabytes = (value) => (value ? `${(value / 2 ** 20).toFixed(value < 2 ** 24 ? 1 : 0)} MiB` : "–");

export const share = ({ taken, limit }) => `${count(taken)} of ${count(limit)}`;

// Ask the server; fails with the message of its JSON error.
export async function get(path, options = {}) {
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.message), { code: answer.code });
  return answer;
}
