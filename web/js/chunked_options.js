// The options of a chunked session, as the page's form has them.

const HEAD = ["pitch", "yaw", "roll"];
const GAZE = ["gaze_x", "gaze_y"];

export class OptionsForm {
  #form;

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#form = form;
    form.addEventListener("input", () => this.#tell());
    form.addEventListener("reset", () => queueMicrotask(() => this.#tell()));
    form.addEventListener("submit", (event) => event.preventDefault());
    this.#tell();
  }

  /** Open the section where a value is out of its range, and say so; @returns {boolean} whether all are right */
  check() {
    if (this.#form.checkValidity()) return true;
    this.#form.closest("details").open = true;
    return this.#form.reportValidity();
  }

  /** @returns {import("../sdk/chunked.js").Options} */
  get values() {
    const number = (name) => Number(this.#form.elements[name].value || 0);
    return {
      crop: this.#form.elements.crop.checked,
      seed: number("seed"),
      nfe: number("nfe"),
      cfg_scale: number("cfg_scale"),
      chunk_duration: number("chunk_duration"),
      pose_style: HEAD.map(number),
      gaze_style: GAZE.map(number),
    };
  }

  #tell() {
    for (const output of this.#form.querySelectorAll("output")) {
      const unit = output.parentElement.dataset.unit ?? "";
      output.value = this.#form.elements[output.htmlFor.value].value + unit;
    }
  }
}
