// What the main page shows: the only place that touches its elements.

const COUNTDOWN_STEP_MS = 250;

/** The value of the choice "Your photo"; no avatar can be called so. */
export const OWN = ":own";

/** The choice of no microphone: the avatar says what is typed. */
export const NO_MICROPHONE = ":none";

/** @typedef {"still" | "asking" | "connecting" | "live" | "waiting"} Phase */

const STATUS = {
  still: "",
  asking: "Waiting for the microphone…",
  connecting: "Connecting…",
  live: "Connected. Speak, or type.",
  waiting: "",
};

const MOOD = {
  still: "Not connected",
  asking: "Waiting for the microphone",
  connecting: "Connecting",
  waiting: "Away",
  idle: "Listening",
  speaking: "Speaking",
};

/** @returns {HTMLElement} */
export function element(id) {
  return document.getElementById(id);
}

export class View {
  /** @type {Phase} */
  phase = "still";
  onGo = () => {};
  onAvatar = (_name) => {};
  onMicrophone = () => {};
  onMicrophoneSwitch = (_on) => {};

  #titles = new Map();
  #remark = null;
  #countdown = 0;
  #retrying = false;
  #named = null;
  #ownPoster = "";
  #voiceOn = false;
  #spoken = false;

  constructor() {
    element("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.onGo();
    });
    // The second click of a double click would stop what the first one started.
    element("go").addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
    element("avatar").addEventListener("change", () => {
      this.onAvatar(this.avatar);
      if (this.phase === "still") this.name(this.avatar);
    });
    element("microphone").addEventListener("change", () => this.onMicrophone());
    element("microphone-switch").addEventListener("click", ({ currentTarget }) => this.onMicrophoneSwitch(flip(currentTarget)));
    // Muted until asked for: through loudspeakers the returned voice would reach the microphone again, and what the
    // browser's echo canceller leaves of it would move the lips. With headphones there is no such loop.
    element("voice-switch").addEventListener("click", ({ currentTarget }) => {
      this.#voiceOn = flip(currentTarget);
      this.hear(this.#spoken);
    });
    element("poster").addEventListener("load", ({ currentTarget }) => {
      currentTarget.hidden = false;
    });
  }

  /** @returns {string | null} the chosen avatar's name */
  get avatar() {
    return element("avatar").value || null;
  }

  /** @returns {string | null} the avatar that is shown, which may not yet be the chosen one */
  get namedAvatar() {
    return this.#named;
  }

  /** @returns {string} the chosen device's id; "" is the system's default */
  get microphone() {
    return element("microphone").value;
  }

  /**
   * @param {Phase} phase
   * @param {{sessionId?: string, words?: {title: string, text: string}, retryInMs?: number}} [facts]
   */
  enter(phase, { sessionId, words, retryInMs } = {}) {
    this.phase = phase;
    document.body.dataset.phase = phase;
    element("go").textContent = phase === "still" ? "Start" : "Stop";
    element("go").classList.toggle("stop", phase !== "still");
    element("running").hidden = phase === "still" || phase === "asking";
    element("figures").hidden = phase !== "live";
    element("microphone-switch").parentElement.hidden = this.microphone === NO_MICROPHONE;
    // While a failure is told, that text has the word.
    const retrying = phase === "connecting" && this.#retrying;
    element("status").textContent = retrying ? "" : STATUS[phase];
    if (phase === "live") element("kiosk").href = `kiosk.html?session=${encodeURIComponent(sessionId)}`;
    else element("kiosk").removeAttribute("href");
    element("blendshapes").href = phase === "live" ? `blendshapes.html?session=${encodeURIComponent(sessionId)}` : "blendshapes.html";
    this.feel(phase === "live" ? "idle" : phase);
    if (phase === "waiting") this.#announce(words, { calm: true, retryInMs });
    else if (retrying) this.#countDown(0);
    else this.#clear();
    this.#retrying = phase === "waiting" || retrying;
    if (phase !== "live") this.count({});
  }

  /** @param {MediaStream} stream */
  show(stream) {
    const face = element("face");
    if (face.srcObject !== stream) face.srcObject = stream;
    face.play().catch(() => {}); // Muted or after a click: refused only while a newer stream replaces this one.
  }

  /** Let the returned voice be heard while a text is said; else as the switch says. */
  hear(spoken) {
    this.#spoken = spoken;
    element("face").muted = !(spoken || this.#voiceOn);
  }

  /** Say what the avatar does. Not aloud: a screen reader would talk into every sentence. */
  feel(mood) {
    if (!(mood in MOOD)) return;
    document.body.dataset.mood = mood;
    element("mood-text").textContent = MOOD[mood];
  }

  /** @param {{fps?: number, delayMs?: number, roundTripMs?: number, lossPercent?: number}} stats */
  count({ fps, delayMs, roundTripMs, lossPercent }) {
    element("fps").textContent = figure(fps, 1);
    element("delay").textContent = figure(delayMs, 0, " ms");
    element("round-trip").textContent = figure(roundTripMs, 0, " ms");
    element("loss").textContent = figure(lossPercent, 1, " %");
  }

  /** Show a failure that ended the attempt. */
  warn(words) {
    this.#announce(words, { calm: false });
  }

  /** Show something worth knowing that ends nothing; `calm` takes it back. */
  remark(about, words) {
    this.#announce(words, { calm: true });
    this.#remark = about;
  }

  calm(about) {
    if (this.#remark === about) this.#clear();
  }

  /** Show why this page cannot work here. */
  block(words) {
    this.warn(words);
    element("go").disabled = true;
  }

  /** @param {{name: string, title: string}[]} avatars */
  offerAvatars(avatars, defaultName, wantedName) {
    this.#titles = new Map(avatars.map(({ name, title }) => [name, title]));
    const wanted = this.#titles.has(wantedName) ? wantedName : defaultName;
    element("avatar").replaceChildren(...avatars.map(({ name, title }) => new Option(title, name, false, name === wanted)));
    this.name(wanted);
    if (wantedName && wanted !== wantedName) {
      this.warn({ title: `There is no avatar “${wantedName}” here`, text: "Choose another one, and press Start." });
    }
  }

  /** @param {{id: string, label: string}[]} devices */
  offerMicrophones(devices) {
    const select = element("microphone");
    const chosen = select.value;
    const options = devices.map(({ id, label }) => new Option(label, id, false, id === chosen));
    const none = new Option("None: I type", NO_MICROPHONE, false, chosen === NO_MICROPHONE);
    select.replaceChildren(new Option("System default", ""), ...options, none);
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  }

  /** Add an avatar to the choice. */
  addAvatar({ name, title }) {
    if (!this.#titles.has(name)) element("avatar").append(new Option(title, name));
    this.#titles.set(name, title);
  }

  /** Let a photo be used. */
  offerPhoto() {
    element("own").hidden = false;
  }

  /** @param {string | null} face the name of one's own face, which is among the choices then; null: there is none */
  offerOwn(face) {
    const option = element("avatar").querySelector(`option[value="${OWN}"]`);
    if (face === null) option?.remove();
    else if (!option) element("avatar").prepend(new Option("Your photo", OWN));
    this.#titles.set(OWN, "your photo");
    this.#ownPoster = face === null ? "" : posterOf(face);
    for (const id of ["own-keep", "own-remove", "own-hint"]) element(id).hidden = face === null;
    element("own-choose-text").textContent = face === null ? "Use my photo" : "Another photo";
  }

  /** Show whose face it is. */
  name(name) {
    this.#named = name;
    element("avatar").value = name;
    element("title").textContent = this.#titles.get(name) ?? name;
    element("poster").src = name === OWN ? this.#ownPoster : posterOf(name);
  }

  #announce({ title, text }, { calm, retryInMs }) {
    this.#clear();
    element("notice").hidden = false;
    element("notice").classList.toggle("calm", calm);
    element("notice-title").textContent = title;
    element("notice-text").textContent = text;
    if (retryInMs !== undefined) this.#countDown(retryInMs);
  }

  #countDown(retryInMs) {
    clearInterval(this.#countdown);
    const endsMs = performance.now() + retryInMs;
    const tick = () => {
      const leftS = Math.ceil((endsMs - performance.now()) / 1000);
      element("countdown").textContent = leftS > 0 ? `Trying again in ${leftS} s` : "Trying now…";
    };
    element("countdown").hidden = false;
    this.#countdown = setInterval(tick, COUNTDOWN_STEP_MS);
    tick();
  }

  #clear() {
    this.#remark = null;
    clearInterval(this.#countdown);
    element("countdown").hidden = true;
    element("notice").hidden = true;
    element("notice-title").textContent = "";
    element("notice-text").textContent = "";
  }
}

function posterOf(name) {
  return `api/avatars/${encodeURIComponent(name)}/poster`;
}

function figure(value, digits, unit = "") {
  return Number.isFinite(value) ? value.toFixed(digits) + unit : "–";
}

/** Turn a switch over. @returns {boolean} whether it is on now */
function flip(button) {
  const on = button.getAttribute("aria-checked") !== "true";
  button.setAttribute("aria-checked", String(on));
  return on;
}
