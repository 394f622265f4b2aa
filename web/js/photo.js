// A photo on its way to the server: shown, and made smaller or another kind of file where the server would not take it.

/** The server takes files of these kinds up to about 10 MB; a face needs no more pixels than these. */
const KINDS = new Set(["image/jpeg", "image/png", "image/webp"]);
const MOST_BYTES = 8 * 1024 * 1024;
const MOST_PIXELS = 30_000_000;
const SIDE_PX = 2048;
const SHOWN_PX = 1024;
const QUALITY = 0.92;

export class Photo {
  #canvas;
  #portable;
  /** Rises with every photo: one that is decoded late is not shown over a newer one. */
  #turn = 0;
  /** @type {Blob | null} */
  #file = null;

  /**
   * @param {HTMLCanvasElement} canvas shows it
   * @param {{portable?: boolean}} [options] `portable`: every photo is made small, and loses what its file tells besides the
   *   picture, such as where it was taken
   */
  constructor(canvas, { portable = false } = {}) {
    this.#canvas = canvas;
    this.#portable = portable;
  }

  /** @returns {Blob | null} what is uploaded; null: there is none yet */
  get file() {
    return this.#file;
  }

  /**
   * Show a file, and keep it.
   *
   * @param {Blob} file
   * @throws {Error} with code `not_a_photo`; the photo before stays
   */
  async choose(file) {
    const mine = ++this.#turn;
    const picture = await createImageBitmap(file).catch((cause) => {
      throw Object.assign(new Error("the browser cannot decode it", { cause }), { code: "not_a_photo" });
    });
    const taken = !this.#portable && KINDS.has(file.type) && file.size <= MOST_BYTES && picture.width * picture.height <= MOST_PIXELS;
    const portable = taken ? file : await smaller(picture);
    if (mine === this.#turn) {
      paint(this.#canvas, picture, SHOWN_PX);
      this.#file = portable;
    }
    picture.close();
  }
}

async function smaller(picture) {
  const canvas = document.createElement("canvas");
  paint(canvas, picture, SIDE_PX);
  return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

function paint(canvas, picture, sidePx) {
  const scale = Math.min(1, sidePx / Math.max(picture.width, picture.height));
  canvas.width = Math.max(Math.round(picture.width * scale), 1);
  canvas.height = Math.max(Math.round(picture.height * scale), 1);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}
