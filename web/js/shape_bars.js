// The bars: one for each blendshape, a pair of sides in one row, and the head's three angles. Nothing here knows of a connection.

/** A name that ends in * stands for a left and a right one. */
const GROUPS = [
  { title: "Eyes", life: true, shapes: ["eyeBlink*", "eyeLookUp*", "eyeLookDown*", "eyeLookIn*", "eyeLookOut*", "eyeSquint*", "eyeWide*"] },
  { title: "Brows", life: true, shapes: ["browInnerUp", "browOuterUp*", "browDown*"] },
  { title: "Jaw", shapes: ["jawOpen", "jawForward", "jaw*"] },
  {
    title: "Mouth",
    shapes: [
      ...["mouthClose", "mouthPucker", "mouthFunnel", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"],
      ...["mouthPress*", "mouthLowerDown*", "mouthUpperUp*", "mouthStretch*", "mouthSmile*", "mouthFrown*", "mouthDimple*", "mouth*"],
    ],
  },
  { title: "Tongue", shapes: ["tongueOut"] },
  { title: "Cheeks and nose", shapes: ["cheekPuff", "cheekSquint*", "noseSneer*"] },
];
/** The head's group comes after so many others: where two columns of groups break. */
const TURN_AFTER = 3;
const ANGLES = { pitch: "Pitch, down", yaw: "Yaw, to the right", roll: "Roll, to the right" };
const FULL_DEG = 10;

/** Not sides of the face, but ways to go: their stems are no names. */
const WHOLE = new Set(["jaw", "mouth"]);

/** What a bar's shadow, its latest peak, loses with each face. */
const PEAK_FALL = 0.015;
/** Assistive technology would have nothing else to read if it were told of every face. */
const SPOKEN_MS = 1_000;

export class ShapeBars {
  /** @type {Map<string, Bar>} */
  #shapes = new Map();
  /** @type {Map<string, Bar>} */
  #angles = new Map();
  #spokenAtMs = 0;

  /** @param {HTMLElement} place where the groups go */
  constructor(place) {
    const turn = group("Head", "life");
    for (const [angle, label] of Object.entries(ANGLES)) turn.append(row(angle, [this.#add(this.#angles, angle, label, "angle")]));
    const shown = GROUPS.map(({ title, life, shapes }) => {
      const box = group(title, life ? "life" : "voice");
      for (const shape of shapes) box.append(this.#row(shape));
      return box;
    });
    shown.splice(TURN_AFTER, 0, turn);
    place.append(...shown);
  }

  /** @returns {string[]} the names of all bars */
  get names() {
    return [...this.#shapes.keys()];
  }

  /** @param {import("../sdk/blendshapes.js").Face} face */
  show({ names, values, head }) {
    const nowMs = performance.now();
    const spoken = nowMs - this.#spokenAtMs > SPOKEN_MS;
    if (spoken) this.#spokenAtMs = nowMs;
    names.forEach((name, place) => this.#shapes.get(name)?.show(values[place], spoken));
    for (const [angle, bar] of this.#angles) bar.show(head[angle], spoken);
  }

  /** Show a face at rest. */
  clear() {
    this.#spokenAtMs = 0;
    for (const bars of [this.#shapes, this.#angles]) for (const bar of bars.values()) bar.clear();
  }

  #row(shape) {
    if (!shape.endsWith("*")) return row(shape, [this.#add(this.#shapes, shape, shape, "whole")]);
    const stem = shape.slice(0, -1);
    const sides = ["Right", "Left"].map((side) => this.#add(this.#shapes, stem + side, stem + side, side.toLowerCase()));
    return row(WHOLE.has(stem) ? `${stem}Left, Right` : stem, sides);
  }

  #add(bars, name, label, kind) {
    const bar = new Bar(name, label, kind);
    bars.set(name, bar);
    return bar;
  }
}

/** One value: a bar and its number. */
class Bar {
  track = document.createElement("span");
  number = document.createElement("span");
  #angle;
  #value = 0;
  #peak = 0;

  constructor(name, label, kind) {
    this.#angle = kind === "angle";
    this.track.className = `bar ${kind}`;
    this.track.dataset.name = name;
    this.track.append(document.createElement("i"), document.createElement("b"));
    this.number.className = "number";
    this.number.ariaHidden = "true";
    for (const [key, value] of Object.entries({
      role: "meter",
      "aria-label": label,
      "aria-valuemin": this.#angle ? -FULL_DEG : 0,
      "aria-valuemax": this.#angle ? FULL_DEG : 1,
    })) {
      this.track.setAttribute(key, String(value));
    }
    this.clear();
  }

  show(value, spoken) {
    const peak = this.#angle ? value : Math.max(value, this.#peak - PEAK_FALL);
    if (value !== this.#value) {
      this.track.style.setProperty("--value", String(this.#share(value)));
      this.number.textContent = this.#angle ? `${value > 0 ? "+" : ""}${value.toFixed(1)}°` : short(value);
      this.number.classList.toggle("nothing", !this.#angle && value < 0.005);
    }
    if (peak !== this.#peak) this.track.style.setProperty("--peak", String(this.#share(peak)));
    if (spoken) this.track.setAttribute("aria-valuenow", value.toFixed(2));
    this.#value = value;
    this.#peak = peak;
  }

  clear() {
    this.#peak = 0;
    this.#value = NaN;
    this.show(0, true);
  }

  #share(value) {
    return this.#angle ? Math.max(-1, Math.min(1, value / FULL_DEG)) : value;
  }
}

function group(title, kind) {
  const box = document.createElement("section");
  const heading = document.createElement("h2");
  box.className = `group ${kind}`;
  heading.textContent = title;
  box.append(heading);
  box.setAttribute("aria-label", title);
  return box;
}

/** @param {Bar[]} bars one over the whole width, or the right side's and the left side's */
function row(name, bars) {
  const line = document.createElement("div");
  const label = document.createElement("span");
  line.className = "shape";
  label.className = "name";
  label.textContent = name;
  label.ariaHidden = "true";
  line.append(label);
  if (bars.length === 2) line.append(bars[0].number);
  else line.append(document.createElement("span"));
  line.append(...bars.map(({ track }) => track), bars.at(-1).number);
  return line;
}

/** ".42": the zero before the point says nothing in a column of them. */
function short(value) {
  return value >= 0.995 ? "1" : value.toFixed(2).slice(1);
}
