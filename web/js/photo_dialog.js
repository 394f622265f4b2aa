// "Use my photo": choose, drop, paste or take one, look at it, agree, send it.

import { describeFailure } from "./failures.js";
import { Photo } from "./photo.js";
import { element } from "./view.js";

const WORDS = {
  server_full: {
    title: "The server has no room for another photo",
    text: "Others use theirs right now. Try again in a minute.",
  },
  unreachable: {
    title: "The photo did not reach the server",
    text: "Check your network, and that the server runs. Then try again.",
  },
};

export class PhotoDialog {
  #own;
  #dialog = element("photo-dialog");
  #photo = new Photo(element("photo-picture"), { portable: true });
  /** @type {AbortController | null} */
  #sending = null;
  /** @param {import("../sdk/faces.js").Face} _face that was made */
  onFace = (_face) => {};
  offered = false;

  /** @param {import("./own_face.js").OwnFace} own where the photo goes */
  constructor(own) {
    this.#own = own;
    element("own-choose").addEventListener("click", () => this.open());
    element("photo-cancel").addEventListener("click", () => this.#dialog.close());
    element("photo-use").addEventListener("click", () => this.#send());
    element("photo-consent").addEventListener("change", () => this.#show());
    this.#dialog.addEventListener("close", () => this.#sending?.abort());
    for (const id of ["photo-file", "photo-camera"]) {
      element(id).addEventListener("change", ({ currentTarget }) => {
        const [file] = currentTarget.files;
        currentTarget.value = ""; // so that the same file can be chosen again
        if (file) this.#choose(file);
      });
    }
    this.#acceptDrops();
    addEventListener("paste", ({ clipboardData }) => {
      if (this.#dialog.open && clipboardData.files.length) this.#choose(clipboardData.files[0]);
    });
  }

  open() {
    if (this.#dialog.open) return;
    this.#tell(null);
    this.#show();
    this.#dialog.showModal();
  }

  async #choose(file) {
    if (this.#sending) return;
    try {
      await this.#photo.choose(file);
      this.#tell(null);
    } catch (error) {
      this.#tell(error);
    }
    this.#show();
    if (this.#photo.file) element(element("photo-consent").checked ? "photo-use" : "photo-consent").focus();
  }

  async #send() {
    const sending = (this.#sending = new AbortController());
    this.#tell(null);
    this.#progress(0);
    this.#show();
    try {
      const onProgress = (share) => this.#progress(share);
      const face = await this.#own.make(this.#photo.file, { signal: sending.signal, onProgress });
      if (sending.signal.aborted) return;
      this.#dialog.close();
      this.onFace(face);
    } catch (error) {
      if (!sending.signal.aborted) this.#tell(error);
    } finally {
      this.#sending = null;
      this.#show();
    }
  }

  #show() {
    const sending = this.#sending !== null;
    element("photo-picture").hidden = !this.#photo.file;
    element("photo-empty").hidden = this.#photo.file !== null;
    element("photo-choose").textContent = this.#photo.file ? "Choose another" : "Choose a photo";
    element("photo-progress").hidden = !sending;
    element("photo-promise").hidden = sending;
    for (const id of ["photo-file", "photo-camera", "photo-consent"]) element(id).disabled = sending;
    element("photo-use").disabled = sending || !this.#photo.file || !element("photo-consent").checked;
  }

  /** @param {number} share of the photo that is sent; all of it: the server works on it */
  #progress(share) {
    const bar = element("photo-bar");
    if (share < 1) bar.value = share;
    else bar.removeAttribute("value");
    element("photo-step").textContent = share < 1 ? `Sending the photo: ${Math.round(100 * share)} %` : "Making the face…";
  }

  #tell(error) {
    const words = error && (WORDS[error.code] ?? describeFailure(error));
    element("photo-notice").hidden = !words;
    element("photo-notice-title").textContent = words?.title ?? "";
    element("photo-notice-text").textContent = words?.text ?? "";
  }

  /** Wherever on the page a file is dropped, it is meant as the photo. */
  #acceptDrops() {
    const carriesFile = ({ dataTransfer }) => this.offered && [...(dataTransfer?.types ?? [])].includes("Files");
    const drop = element("photo-drop");
    addEventListener("dragover", (event) => {
      if (!carriesFile(event)) return;
      event.preventDefault();
      drop.dataset.over = "";
      document.body.dataset.over = "";
    });
    const left = () => {
      delete drop.dataset.over;
      delete document.body.dataset.over;
    };
    addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? left());
    addEventListener("drop", (event) => {
      if (!carriesFile(event)) return;
      event.preventDefault();
      left();
      const [file] = event.dataTransfer.files;
      if (!file) return;
      this.open();
      this.#choose(file);
    });
  }
}
