// Frames of a session: the next one is asked for when the last one is shown, so a slow reader leaves out frames.
import { element } from "./dom.js";

const SAID = {
  "no-image": "There is nothing to see: make the environment with render_mode=\"rgb_array\".",
  "not-rendered": "The environment could not be rendered; the output below says why.",
  "no-session": "The session is not running.",
};

export class LiveView {
  constructor(name) {
    this.name = name;
    this.words = element("p", { role: "status" }, "Off: no frames are rendered.");
    this.image = element("img", { alt: `The environment of session ${name}`, hidden: "" });
    this.picture = element("div", { class: "picture" }, this.image, this.words);
    this.button = element("button", { type: "button", "aria-pressed": "false" }, "Watch");
    this.button.addEventListener("click", () => (this.asking ? this.stop() : this.start()));
    this.controls = element("div", { class: "row" }, this.button);
  }

  start() {
    this.asking = new AbortController();
    this.button.textContent = "Stop watching";
    this.button.setAttribute("aria-pressed", "true");
    this.say("Waiting for the next step…");
    this.ask(this.asking.signal);
  }

  stop(words = "Off: no frames are rendered.") {
    this.asking?.abort();
    this.asking = undefined;
    this.button.textContent = "Watch";
    this.button.setAttribute("aria-pressed", "false");
    if (this.image.hidden) this.say(words);
  }

  say(words) {
    this.words.hidden = !words;
    this.words.textContent = words;
  }

  async ask(signal) {
    let after = 0;
    while (!signal.aborted) {
      try {
        const response = await fetch(`/api/sessions/${this.name}/frame?after=${after}`, { signal, cache: "no-store" });
        if (response.status === 200) {
          after = Number(response.headers.get("Frame-Number"));
          await this.show(await response.blob());
        } else if (response.status !== 204) {
          return this.stop((await response.json()).message);
        } else if (response.headers.get("No-Frame") in SAID) {
          return this.stop(SAID[response.headers.get("No-Frame")]);
        }
      } catch (error) {
        if (signal.aborted) return;
        await new Promise((resolve) => setTimeout(resolve, 1000)); // the server does not answer now
      }
    }
  }

  async show(blob) {
    const address = URL.createObjectURL(blob);
    this.image.src = address;
    await this.image.decode().catch(() => {});
    URL.revokeObjectURL(address);
    this.image.hidden = false;
    this.say("");
  }
}
