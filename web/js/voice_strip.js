// The level meter: the last seconds of your voice, one bar for each 40 ms chunk, which is also one frame of the face.

const BAR_MS = 40;
const BAR_PX = 3;
const GAP_PX = 3;
const REST_PX = 2;
/** Levels are in decibels, which crowd at the top: spread, they show syllables. */
const CONTRAST = 1.8;

export class VoiceStrip {
  #canvas;
  #read;
  #levels = [];
  #spokenAtMs = 0;
  #timer = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => number} read the level of the last 40 ms, 0 to 1
   */
  constructor(canvas, read) {
    this.#canvas = canvas;
    this.#read = read;
    new ResizeObserver(() => this.#fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  start() {
    // Once a bar and no more often: a phone that shows a face has better uses for its battery than repaints.
    this.#timer ||= setInterval(() => this.#step(), BAR_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#levels = [];
    this.#canvas.setAttribute("aria-valuenow", "0");
    this.#draw();
  }

  #step() {
    const level = this.#read();
    this.#levels.push(level);
    if (this.#levels.length > this.#capacity()) this.#levels.shift();
    const nowMs = performance.now();
    if (nowMs - this.#spokenAtMs > 1000) {
      this.#spokenAtMs = nowMs;
      this.#canvas.setAttribute("aria-valuenow", String(Math.round(100 * level)));
    }
    if (!document.hidden) this.#draw();
  }

  #capacity() {
    return Math.ceil(this.#canvas.clientWidth / (BAR_PX + GAP_PX));
  }

  #fit() {
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(this.#canvas.clientWidth * scale);
    this.#canvas.height = Math.round(this.#canvas.clientHeight * scale);
    this.#draw();
  }

  #draw() {
    const context = this.#canvas.getContext("2d");
    const scale = devicePixelRatio || 1;
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = getComputedStyle(this.#canvas).color;
    if (this.#calm.matches) {
      this.#drawStill(context, width, height);
      return;
    }
    const count = this.#capacity();
    for (let age = 0; age < count; age++) {
      const level = this.#levels[this.#levels.length - 1 - age] ?? 0;
      const tall = Math.max(REST_PX, level ** CONTRAST * height);
      // The newest sound is on the right and the past fades to the left.
      context.globalAlpha = (level > 0 ? 0.95 : 0.32) * (1 - 0.8 * (age / count));
      context.beginPath();
      context.roundRect(width - (age + 1) * (BAR_PX + GAP_PX) + GAP_PX, (height - tall) / 2, BAR_PX, tall, BAR_PX / 2);
      context.fill();
    }
  }

  /** For those who asked for less motion: one bar whose length is the level. */
  #drawStill(context, width, height) {
    const tall = 6;
    const level = this.#levels.at(-1) ?? 0;
    for (const [alpha, length] of [[0.22, width], [0.95, width * level]]) {
      context.globalAlpha = alpha;
      context.beginPath();
      context.roundRect(0, (height - tall) / 2, length, tall, tall / 2);
      context.fill();
    }
  }
}
