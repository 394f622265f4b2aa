// The box for texts: what is typed is said, in a chosen voice; and the caption over the picture.

import { listVoices } from "../sdk/speech.js";
import { describeFailure } from "./failures.js";
import { element } from "./view.js";

const SLOWEST_CAPTION_MS = 400;

export class SayBox {
  /** Called with true when a text is about to be heard, and with false when none is any more. */
  onSpeaking = (_on) => {};

  /** @type {import("../sdk/avatar.js").AvatarSession | null} */
  #session = null;
  /** Turns that are being said or wait. */
  #turns = new Set();
  #timers = [];

  constructor() {
    element("say").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    element("say-text").addEventListener("keydown", (event) => {
      // Enter says it; a new line is Shift and Enter, as in every chat.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#say();
    });
    element("say-text").addEventListener("input", () => this.#refresh());
    element("say-stop").addEventListener("click", () => this.#session?.interrupt());
    this.#refresh();
  }

  /** Ask the server for its voices; without any the box stays away. */
  async load() {
    try {
      const { voices, defaultVoice } = await listVoices();
      const select = element("say-voice");
      select.replaceChildren(...grouped(voices));
      select.value = defaultVoice;
      element("say").hidden = voices.length === 0;
    } catch {
      element("say").hidden = true;
    }
  }

  /** @param {import("../sdk/avatar.js").AvatarSession | null} session that says what is typed from now on */
  attach(session) {
    this.#session = session;
    this.#turns.clear();
    this.#clear();
    this.#refresh();
    if (!session) return;
    const on = (type, handle) => session.addEventListener(type, ({ detail }) => session === this.#session && handle(detail));
    on("speech", (turn) => this.#follow(turn));
    on("caption", (caption) => this.#show(caption));
    on("state", ({ state }) => {
      if (state === "connected") return;
      this.#turns.clear();
      this.#clear();
      this.#refresh();
    });
  }

  async #say() {
    const field = element("say-text");
    const text = field.value.trim();
    if (!text || !this.#session) return;
    this.#trouble("");
    try {
      await this.#session.speak(text, { voice: element("say-voice").value || undefined });
      if (field.value.trim() === text) field.value = "";
    } catch (error) {
      this.#trouble(error.code === "unreachable" ? describeFailure(error).text : error.message);
    }
    this.#refresh();
  }

  #follow({ id, state, message }) {
    if (state === "queued") this.#turns.add(id);
    else if (state !== "started") this.#turns.delete(id);
    if (state === "failed") this.#trouble(message);
    if (this.#turns.size === 0) this.#clear();
    this.onSpeaking(this.#turns.size > 0);
    this.#refresh();
  }

  /** Show a sentence, and brighten its words as they are heard. */
  #show({ text, words }) {
    const caption = element("caption");
    if (text !== undefined) {
      this.#stopTimers();
      caption.replaceChildren(...text.split(/(?<=\s)/).map((word) => Object.assign(document.createElement("span"), { textContent: word })));
      caption.hidden = false;
    }
    const spans = [...caption.children];
    let next = spans.findIndex((span) => !span.classList.contains("said"));
    for (const word of words ?? []) {
      const span = spans[next++];
      if (!span) break;
      this.#timers.push(setTimeout(() => span.classList.add("said"), word.start_s * 1000));
    }
  }

  #clear() {
    this.#stopTimers();
    this.#timers.push(setTimeout(() => (element("caption").hidden = true), SLOWEST_CAPTION_MS));
  }

  #stopTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }

  #refresh() {
    element("say-go").disabled = !this.#session || !element("say-text").value.trim();
    element("say-stop").disabled = this.#turns.size === 0;
  }

  #trouble(text) {
    element("say-trouble").textContent = text;
    element("say-trouble").hidden = !text;
  }
}

/** @returns {(HTMLOptionElement | HTMLOptGroupElement)[]} the voices, by language where there are many */
function grouped(voices) {
  const option = ({ id, title }) => new Option(title, id);
  if (voices.length < 12) return voices.map(option);
  const names = new Intl.DisplayNames([navigator.language, "en"], { type: "language" });
  const groups = new Map();
  for (const voice of voices) {
    const label = nameOf(names, voice.language);
    if (!groups.has(label)) groups.set(label, Object.assign(document.createElement("optgroup"), { label }));
    groups.get(label).append(option(voice));
  }
  return [...groups.values()];
}

function nameOf(names, language) {
  try {
    return names.of(language);
  } catch {
    return language;
  }
}
