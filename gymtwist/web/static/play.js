// Play an environment by the keyboard: a session of this page's own, by WebSocket, with a rendered frame for each step.
import { Client } from "./client.js";
import { cards, element, number } from "./dom.js";
import { steering, takesTurns } from "./steering.js";

const SPEEDS = [["step by step", 0], ["quarter speed", 0.25], ["half speed", 0.5], ["full speed", 1]];

export function play(content, id) {
  const held = new Set();
  const canvas = element("canvas", { role: "img", "aria-label": `The environment ${id}`, hidden: "" });
  const text = element("pre", { role: "document", hidden: "" }); // which a screen reader reads in an application, too
  const words = element("p", { role: "status" }, "Start, then use the keys below.");
  const label = "Playing field: steer here by the keyboard";
  // A screen reader passes the keys on only to an application.
  const picture = element("div", { class: "picture", tabindex: "0", role: "application", "aria-label": label }, canvas, text);
  const speed = element("select", { id: "speed" });
  for (const [name, factor] of SPEEDS) speed.append(element("option", { value: String(factor) }, name));
  speed.value = takesTurns(id) ? "0" : "0.5";
  const start = element("button", { type: "button" }, "Start");
  const reset = element("button", { type: "button", disabled: "" }, "New episode");
  const film = element("button", { type: "button", "aria-pressed": "false", disabled: "" }, "Record");
  const score = element("dl", { class: "cards" });
  const legend = element("ul", { class: "row legend" });
  const buttons = element("div", { class: "row", role: "group", "aria-label": "Actions" });
  content.append(
    element("h1", {}, `Play ${id}`),
    element("div", { class: "row" }, start, reset, film, element("label", { for: "speed" }, "Speed"), speed),
    words,
    picture,
    score,
    legend,
    buttons,
  );
  let [client, keys, recorder, press] = [undefined, undefined, undefined, undefined];
  let [total, steps, episode, over, left] = [0, 0, 0, false, false];
  let [asked, chosen] = [false, undefined]; // a new episode, and the action of the button that is held

  const say = (message, bad = false) => {
    words.textContent = message;
    words.className = bad ? "bad" : "";
  };
  const tell = () =>
    cards(score, [["Episode", String(episode)], ["Steps", String(steps)], ["Return", number(total)], ["State", over ? "ended" : "running"]]);

  async function make() {
    for (const mode of ["rgb_array", "ansi", undefined]) {
      try {
        return await client.ask("make", { id, report_queue: false, ...(mode ? { render_mode: mode } : {}) });
      } catch (error) {
        if (!mode || error.code !== "invalid-field") throw error;
      }
    }
  }

  const called = (name) => client.ask("call", { name }).then(({ value }) => value ?? undefined, () => undefined);

  function draw({ frame }) {
    if (typeof frame === "string") {
      text.textContent = frame.replace(/\x1b\[[\d;]*m/g, "");
      text.hidden = false;
    } else if (frame?.dtype === "uint8" && frame.shape.length === 3) {
      const [height, width, channels] = frame.shape;
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const image = new ImageData(width, height);
      for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
        for (let each = 0; each < 3; each++) image.data[to + each] = frame.data[from + (channels < 3 ? 0 : each)];
        image.data[to + 3] = 255;
      }
      canvas.getContext("2d").putImageData(image, 0, 0);
      canvas.hidden = false;
    }
  }

  async function begin() {
    [total, steps, over] = [0, 0, false];
    episode += 1;
    await Promise.all([client.ask("reset"), show()]);
    say(`${canvas.hidden && text.hidden ? "This environment shows nothing. " : ""}The first key begins the episode.`);
    tell();
  }

  const show = () => client.ask("render").then(draw, (error) => error.code === "invalid-request" || say(error.message));

  async function step(action) {
    if (over) return;
    const [stepped] = await Promise.all([client.ask("step", { action }), show()]);
    if (!steps) say("");
    steps += 1;
    total += Number(stepped.reward);
    over = stepped.terminated || stepped.truncated;
    if (over) say(`The episode has ended after ${steps} steps, with a return of ${number(total)}. Enter begins the next one.`);
    tell();
  }

  async function run(made) {
    let next = performance.now();
    while (!left) {
      const factor = Number(speed.value);
      if (over || !steps || !factor || !keys) {
        const action = await new Promise((resolve) => (press = resolve));
        press = undefined;
        if (action === "begin") await begin();
        else if (action === "keys") await step(keys.choose(held));
        else if (action !== "look") await step(action);
        next = performance.now();
        continue;
      }
      await step(chosen ?? keys.choose(held));
      next = Math.max(next + 1000 / (factor * (made.metadata?.render_fps || 30)), performance.now());
      await new Promise((resolve) => setTimeout(resolve, next - performance.now()));
      if (asked) await ((asked = false), begin());
    }
  }
  async function open() {
    start.disabled = true;
    say("Making the environment…");
    try {
      client = new Client(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, { binary: true });
      const made = await make();
      keys = steering(id, made.action_space, await called("get_keys_to_action"), await called("get_action_meanings"));
      for (const [shown, meaning] of keys?.legend ?? []) legend.append(element("li", {}, element("kbd", {}, shown), ` ${meaning}`));
      for (const [name, action] of keys?.buttons ?? []) {
        const button = element("button", { type: "button" }, name);
        button.addEventListener("pointerdown", () => (chosen = action));
        for (const each of ["pointerup", "pointerleave"]) button.addEventListener(each, () => (chosen = undefined));
        button.addEventListener("click", () => press?.(action));
        buttons.append(button);
      }
      if (!keys) buttons.append(sampler());
      [reset.disabled, film.disabled] = [false, !("MediaRecorder" in window)];
      await begin();
      picture.focus();
      await run(made);
    } catch (error) {
      if (left) return;
      say(error.message, true);
      client.close();
      [start.disabled, reset.disabled, film.disabled] = [false, true, true];
      legend.replaceChildren();
      buttons.replaceChildren();
    }
  }

  function sampler() {
    const button = element("button", { type: "button" }, "A random action");
    button.addEventListener("click", async () => press?.((await client.ask("sample")).action));
    return button;
  }

  function again() {
    if (press) press("begin");
    else asked = true;
    picture.focus();
  }

  function record() {
    if (recorder) return recorder.stop();
    const [parts, name] = [[], `${id.replace(/[^\w-]+/g, "-")}-${episode}.webm`];
    recorder = new MediaRecorder(canvas.captureStream());
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => {
      recorder = undefined;
      film.textContent = "Record";
      film.setAttribute("aria-pressed", "false");
      const link = element("a", { download: name, href: URL.createObjectURL(new Blob(parts, { type: "video/webm" })) });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    recorder.start();
    film.textContent = "Stop and save";
    film.setAttribute("aria-pressed", "true");
  }

  const named = (key) => (key.length === 1 ? key.toLowerCase() : key);
  picture.addEventListener("keydown", (event) => {
    if (!client || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") return again();
    const key = named(event.key);
    if (!keys?.used.has(key)) return;
    event.preventDefault();
    held.delete(key); // the last one that was pressed comes last
    held.add(key);
    press?.("keys");
  });
  picture.addEventListener("keyup", (event) => held.delete(named(event.key)));
  picture.addEventListener("blur", () => held.clear());
  speed.addEventListener("change", () => press?.("look"));
  start.addEventListener("click", open);
  reset.addEventListener("click", again);
  film.addEventListener("click", record);
  return {
    leave() {
      left = true;
      recorder?.stop();
      client?.close();
    },
  };
}
