// Messages of /ws/lipsync, and the frames that come of them. docs/lipsync.md has the layout.

/**
 * @typedef {object} Output
 * @property {"FULL_FRAME" | "FACE_ONLY"} [composition] FACE_ONLY: to be drawn into the footage at `bounds`
 * @property {"JPEG" | "PNG" | "WEBP" | "RAW_BGR"} [format]
 * @property {number} [jpeg_quality] 1 to 100; left out: the server's own
 * @property {boolean} [blendshapes] each frame's face as numbers, too
 */

/** What the server said no to, or a connection that broke. `code` is the server's, such as `unknown_avatar`, or `connection_lost`. */
export class LipSyncError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "LipSyncError";
    this.code = code;
  }
}

/** One frame, or why there is none. */
export class LipSyncFrame {
  #bytes;
  #format;

  constructor(fields, bytes, format) {
    this.#bytes = bytes;
    this.#format = format;
    /** its number */
    this.frameId = fields.frame_id;
    /** why it could not be made; null where it could */
    this.error = fields.success ? null : (fields.error ?? "the server gave no reason");
    /** left, top, right, bottom of the face in the whole frame */
    this.bounds = fields.bounds ?? [];
    this.width = fields.width;
    this.height = fields.height;
    /** frames in the model call that made it */
    this.batchSize = fields.batch_size;
    this.processingTimeMs = fields.processing_time_ms;
    this.queueTimeMs = fields.queue_time_ms;
    this.inferenceTimeMs = fields.inference_time_ms;
    this.compositeTimeMs = fields.composite_time_ms;
    /** ARKit's 52, 0 to 1, where they were asked for; else null */
    this.blendshapes = fields.blendshapes ?? null;
    /** with them: pitch (down), yaw and roll (to the right of the picture) in degrees */
    this.headDeg = fields.head_deg ?? null;
    /** with them: the frame's time from frame 0 */
    this.timeS = fields.time_s ?? null;
  }

  /** @returns {Uint8Array} the encoded picture */
  get bytes() {
    if (this.error !== null) throw new LipSyncError(`frame ${this.frameId} could not be made: ${this.error}`, "frame_failed");
    return this.#bytes;
  }

  /** @returns {Blob} for `URL.createObjectURL`, or to keep */
  get blob() {
    return new Blob([this.bytes], { type: `image/${this.#format.toLowerCase()}` });
  }

  /** @returns {Promise<ImageBitmap>} for `drawImage` */
  async bitmap() {
    if (this.#format !== "RAW_BGR") return createImageBitmap(this.blob);
    const pixels = new ImageData(this.width, this.height);
    const source = this.bytes;
    for (let from = 0, to = 0; from < source.length; from += 3, to += 4) {
      pixels.data[to] = source[from + 2];
      pixels.data[to + 1] = source[from + 1];
      pixels.data[to + 2] = source[from];
      pixels.data[to + 3] = 255;
    }
    return createImageBitmap(pixels);
  }
}

/** @returns {Uint8Array} samples as the wire has them, little-endian */
export function bytesOf(samples, encoding) {
  const size = encoding === "INT16" ? 2 : 4;
  const bytes = new Uint8Array(samples.length * size);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < samples.length; at++) {
    if (size === 4) view.setFloat32(4 * at, samples[at], true);
    else view.setInt16(2 * at, Math.max(-32768, Math.min(32767, Math.round(samples[at] * 32768))), true);
  }
  return bytes;
}

/** A message: its JSON's length, the JSON, zeros up to a multiple of 4, the payload. Without a payload the JSON as text. */
export function pack(fields, payload) {
  const text = JSON.stringify(fields);
  if (!payload) return text;
  const json = new TextEncoder().encode(text);
  const start = 4 + json.length + (-json.length & 3);
  const message = new Uint8Array(start + payload.length);
  new DataView(message.buffer).setUint32(0, json.length, true);
  message.set(json, 4);
  message.set(payload, start);
  return message;
}

/** @returns {{fields: object, payload: Uint8Array | null}} */
export function unpack(data) {
  if (typeof data === "string") return { fields: JSON.parse(data), payload: null };
  const length = new DataView(data).getUint32(0, true);
  const fields = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  return { fields, payload: new Uint8Array(data, 4 + length + (-length & 3)) };
}
