// The visitor's own face. The photo stays in this page; the server has it only while it is needed, and gets it again where it is needed again.

import { findFace, removeFace, uploadFace } from "../sdk/faces.js";

export class OwnFace {
  /** @type {Blob | null} */
  #photo = null;
  /** @type {import("../sdk/faces.js").Face | null} */
  #face = null;
  /** @type {Promise<import("../sdk/faces.js").Face> | null} */
  #readying = null;

  /** Whether there is a photo. */
  get chosen() {
    return this.#photo !== null;
  }

  /** Whether the server has it, as far as this page knows. */
  get away() {
    return this.#face !== null;
  }

  /** Whether it is this face that the server calls so. */
  isShownAs(name) {
    return this.#face !== null && this.#face.shown_as === name;
  }

  /**
   * Upload another photo; the one before goes once this one is a face.
   *
   * @param {Blob} photo
   * @param {{signal?: AbortSignal, onProgress?: (share: number) => void}} [options]
   * @returns {Promise<import("../sdk/faces.js").Face>}
   */
  async make(photo, options) {
    const face = await uploadFace(photo, options);
    this.release();
    this.#photo = photo;
    this.#face = face;
    return face;
  }

  /** Return the face, uploaded again where it has gone from the server meanwhile. */
  ready() {
    this.#readying ??= this.#ready().finally(() => {
      this.#readying = null;
    });
    return this.#readying;
  }

  /** Take it from the server; the photo stays in this page. @returns {boolean} whether it was there */
  release() {
    const face = this.#face;
    this.#face = null;
    if (face) removeFace(face.name).catch(() => {}); // A server that cannot be reached removes it by itself.
    return face !== null;
  }

  /** Note that the server has it no more. */
  lose() {
    this.#face = null;
  }

  /** Take it from the server, and from this page. */
  forget() {
    this.release();
    this.#photo = null;
  }

  async #ready() {
    if (this.#face && (await findFace(this.#face.name))) return this.#face;
    const photo = this.#photo;
    const face = await uploadFace(photo);
    if (photo === this.#photo) this.#face = face;
    else removeFace(face.name).catch(() => {}); // forgotten, or another one chosen meanwhile
    return face;
  }
}
