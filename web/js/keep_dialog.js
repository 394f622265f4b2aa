// "Keep it": the package of one's own face, to take home, or to save on the server where that is allowed.

import { packageUrl, saveFace } from "../sdk/faces.js";
import { describeFailure } from "./failures.js";
import { element } from "./view.js";

const WORDS = {
  avatar_exists: { title: "This name is taken", text: "Choose another one." },
  invalid_request: { title: "This name cannot be used", text: "A name has 1 to 64 of a-z, 0-9, _ and -." },
};

export class KeepDialog {
  #own;
  #dialog = element("keep-dialog");
  /** @param {{name: string, title: string}} _avatar that the server has from now on */
  onSaved = (_avatar) => {};

  /** @param {import("./own_face.js").OwnFace} own */
  constructor(own) {
    this.#own = own;
    element("own-keep").addEventListener("click", () => this.#open());
    element("keep-close").addEventListener("click", () => this.#dialog.close());
    element("keep-download").addEventListener("click", () => this.#attempt((face, name) => this.#download(face, name)));
    element("keep-save").addEventListener("click", () => this.#attempt((face, name) => this.#save(face, name)));
  }

  /** @param {boolean} allowed whether the server may be asked to keep it */
  offerSaving(allowed) {
    element("keep-save").hidden = !allowed;
    element("keep-save-hint").hidden = !allowed;
  }

  #open() {
    this.#tell(null);
    this.#dialog.showModal();
    element("keep-name").select();
  }

  async #attempt(act) {
    const name = element("keep-name");
    if (!name.reportValidity()) return;
    this.#tell(null);
    this.#wait(true);
    try {
      await act(await this.#own.ready(), name.value);
    } catch (error) {
      this.#tell(WORDS[error.code] ?? describeFailure(error), { failed: true });
    } finally {
      this.#wait(false);
    }
  }

  #download(face, name) {
    const link = Object.assign(document.createElement("a"), { href: packageUrl(face.name, { as: name }), download: `${name}.zip` });
    link.click();
    this.#tell({
      title: `${name}.zip is on its way`,
      text: "Unpack it into an avatar folder of any server of this kind, and the avatar is there. Keep it to yourself: it is your face.",
    });
  }

  async #save(face, name) {
    const saved = await saveFace(face.name, { as: name });
    this.onSaved(saved);
    this.#tell({ title: `Saved as “${saved.name}”`, text: "It is an avatar of this server now, for everybody, until its operator removes it." });
  }

  #wait(on) {
    for (const id of ["keep-download", "keep-save"]) element(id).disabled = on;
  }

  #tell(words, { failed = false } = {}) {
    element("keep-notice").hidden = !words;
    element("keep-notice").classList.toggle("calm", !failed);
    element("keep-notice-title").textContent = words?.title ?? "";
    element("keep-notice-text").textContent = words?.text ?? "";
  }
}
