// The lip-sync service over its WebSocket: sound in, pictures of an avatar that says it out. docs/lipsync.md has the messages.

import { CHUNK_SAMPLES, WINDOW_CHUNKS, chunk, pad } from "./sound.js";
import { LipSyncError, LipSyncFrame, bytesOf, pack, unpack } from "./lipsync_messages.js";

export { LipSyncError, LipSyncFrame } from "./lipsync_messages.js";
export { chunk, decode, listen, pad, requiredChunks, window } from "./sound.js";

/** Frames of one call, and calls at a time, as the other clients have them. */
const FRAMES_A_CALL = 250;
const CALLS_AT_A_TIME = 3;

/** Calls with any number of answers and a `done` behind them; all others have one answer. */
const MANY = new Set(["generate_batch_inference", "generate_batch_with_audio", "stream_audio"]);

/** @typedef {import("./lipsync_messages.js").Output} Output */

/**
 * A connection, for any number of calls at a time.
 *
 *   const client = new LipSyncClient();
 *   for await (const frame of client.speak(await decode(file), { model: "iris" })) {
 *     canvas.drawImage(await frame.bitmap(), 0, 0);
 *   }
 *
 * It opens with the first call, and again with the next one after it was lost; what was under way is then over with the error
 * `connection_lost`. Leaving an iteration (`break`) cancels its calls on the server.
 */
export class LipSyncClient {
  #url;
  /** @type {Promise<WebSocket> | null} */
  #opening = null;
  /** @type {WebSocket | null} the newest one */
  #socket = null;
  /** @type {Map<number, Answers>} */
  #calls = new Map();
  #lastId = 0;

  /** @param {{url?: string | URL, token?: string}} [options] url: of the server; left out, the page's own */
  constructor({ url = location.href, token } = {}) {
    this.#url = new URL("/ws/lipsync", url);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    if (token) this.#url.searchParams.set("access_token", token);
  }

  /**
   * A frame for each 40 ms of a sound, in order, as they are made.
   *
   * @param {Float32Array} samples mono, 16 kHz, -1..1; `decode` makes them of files
   * @param {{model: string, startFrame?: number, output?: Output, encoding?: "FLOAT32" | "INT16", framesACall?: number,
   *   onProgress?: (came: number, total: number) => void}} options framesACall: fewer come sooner, more need fewer calls
   * @returns {AsyncGenerator<LipSyncFrame>}
   */
  async *speak(samples, { model, startFrame = 0, output = {}, encoding = "FLOAT32", framesACall = FRAMES_A_CALL, onProgress } = {}) {
    const sound = chunk(samples);
    const total = sound.length / CHUNK_SAMPLES;
    if (!total) throw new RangeError("the sound is empty");
    const begin = (start) => {
      const frameCount = Math.min(framesACall, total - start);
      const fields = { model_name: model, start_frame_id: startFrame + start, frame_count: frameCount, audio_encoding: encoding, output };
      return this.#call("generate_batch_with_audio", fields, bytesOf(pad(sound, { start, frameCount }), encoding));
    };
    let asked = 0;
    let came = 0;
    /** @type {Answers[]} */
    const calls = [];
    try {
      while (came < total) {
        for (; calls.length < CALLS_AT_A_TIME && asked < total; asked += framesACall) calls.push(begin(asked));
        for await (const frame of calls[0].frames(output)) {
          came++;
          onProgress?.(came, total);
          yield frame;
        }
        calls.shift();
      }
    } finally {
      for (const call of calls) call.cancel();
    }
  }

  /**
   * Frames by number, in this order, of the features that the avatar's package brings.
   *
   * @param {number[]} ids
   * @param {{model: string, output?: Output}} options
   * @returns {AsyncGenerator<LipSyncFrame>}
   */
  async *frames(ids, { model, output = {} }) {
    for (let first = 0; first < ids.length; first += FRAMES_A_CALL) {
      const fields = { model_name: model, frame_ids: ids.slice(first, first + FRAMES_A_CALL), output };
      const call = this.#call("generate_batch_inference", fields);
      try {
        yield* call.frames(output);
      } finally {
        call.cancel();
      }
    }
  }

  /**
   * One frame: of a window of 16 chunks, or of the package's features.
   *
   * @param {number} frameId
   * @param {{model: string, window?: Float32Array, output?: Output}} options
   * @returns {Promise<LipSyncFrame>}
   */
  async frame(frameId, { model, window, output = {} }) {
    if (window && window.length !== WINDOW_CHUNKS * CHUNK_SAMPLES) {
      throw new RangeError(`a window is ${WINDOW_CHUNKS} chunks, ${WINDOW_CHUNKS * CHUNK_SAMPLES} samples; got ${window.length}`);
    }
    const payload = window ? bytesOf(window, "FLOAT32") : undefined;
    const call = this.#call("generate_inference", { model_name: model, frame_id: frameId, output }, payload);
    for await (const frame of call.frames(output)) return frame;
    throw new LipSyncError("the server answered without a frame", "no_frame");
  }

  /**
   * A conversation: sound goes in as it comes, each frame comes out when the 7 chunks after its own are there.
   *
   * @param {{model: string, output?: Output, encoding?: "FLOAT32" | "INT16"}} options
   * @returns {LiveLipSync}
   */
  live({ model, output = {}, encoding = "FLOAT32" }) {
    const call = this.#call("stream_audio", { model_name: model, output, audio_encoding: encoding });
    return new LiveLipSync(call, output, encoding);
  }

  /** @returns {Promise<{width: number, height: number, frame_count: number, fps: number, bounds: number[]}>} and more */
  metadata(model) {
    return this.#ask("get_model_metadata", { model_name: model });
  }

  /** @returns {Promise<string[]>} the avatars that are loaded */
  async models() {
    return (await this.#ask("list_models")).loaded_models;
  }

  /** Load an avatar, so that its first frame does not wait for it. */
  load(name, folder = "") {
    return this.#ask("load_package", { package_name: name, package_dir: folder });
  }

  /** @returns {Promise<Blob>} a frame of the avatar's footage, JPEG */
  async footage(frameId, model, video = "") {
    const { payload } = await this.#call("get_video_frame", { model_name: model, frame_id: frameId, video_type: video }).next();
    return new Blob([payload], { type: "image/jpeg" });
  }

  stats(model = "") {
    return this.#ask("get_stats", { model_name: model });
  }

  health() {
    return this.#ask("health_check");
  }

  /** Hang up: calls under way are over. */
  close() {
    const socket = this.#socket;
    this.#socket = this.#opening = null;
    socket?.close();
    this.#lose(new LipSyncError("the client hung up", "connection_lost"));
  }

  async #ask(type, fields) {
    return (await this.#call(type, fields).next()).fields;
  }

  /** Begin a call. Its messages leave in order, the first one as soon as the socket is open. */
  #call(type, fields, payload) {
    const id = ++this.#lastId;
    let sent = this.#open();
    const send = (more, bytes) => {
      sent = sent.then((socket) => {
        if (this.#calls.get(id) === call && socket.readyState === WebSocket.OPEN) socket.send(pack({ type, id, ...more }, bytes));
        return socket;
      });
      sent.catch((error) => this.#calls.get(id) === call && call.fail(error));
    };
    const call = new Answers({
      single: !MANY.has(type),
      send,
      buffered: async () => (await sent).bufferedAmount,
      over: (cancelled) => {
        this.#calls.delete(id);
        if (cancelled) sent.then((socket) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ type: "cancel", id }))).catch(() => {});
      },
    });
    this.#calls.set(id, call);
    send(fields, payload);
    return call;
  }

  #open() {
    this.#opening ??= new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#url);
      socket.binaryType = "arraybuffer";
      let lost = new LipSyncError("the server does not answer at /ws/lipsync, or refuses this page", "unreachable");
      socket.onopen = () => {
        lost = new LipSyncError("the connection to the server was lost", "connection_lost");
        resolve(socket);
      };
      socket.onmessage = ({ data }) => {
        const { fields, payload } = unpack(data);
        this.#calls.get(fields.id)?.take(fields, payload);
      };
      socket.onclose = () => {
        reject(lost);
        if (this.#socket !== socket) return;
        this.#opening = null;
        this.#lose(lost);
      };
      this.#socket = socket;
    });
    return this.#opening;
  }

  #lose(error) {
    for (const call of [...this.#calls.values()]) call.fail(error);
  }
}

/** Sound in, frames out: push and iterate at the same time. */
export class LiveLipSync {
  #call;
  #output;
  #encoding;

  constructor(call, output, encoding) {
    this.#call = call;
    this.#output = output;
    this.#encoding = encoding;
  }

  /** @param {Float32Array} samples mono, 16 kHz, any length */
  push(samples) {
    this.#call.send({ audio_encoding: this.#encoding }, bytesOf(samples, this.#encoding));
  }

  /** End an utterance: its last frames come at once. */
  end() {
    this.#call.send({ end: true });
  }

  /** Drop sound and frames that wait. */
  interrupt() {
    this.#call.send({ interrupt: true });
  }

  /** Send nothing more: after the frames that are left the iteration ends. */
  finish() {
    this.#call.send({ end: true, close: true });
  }

  /** Hang up at once. */
  cancel() {
    this.#call.cancel();
  }

  /** @returns {Promise<number>} bytes that have not left this computer */
  buffered() {
    return this.#call.buffered();
  }

  [Symbol.asyncIterator]() {
    return this.#call.frames(this.#output);
  }
}

/** What came back for one call and was not taken yet. */
class Answers {
  #waiting = [];
  #wake = null;
  #error = null;
  #over = false;
  #single;
  #ended;

  constructor({ single, send, buffered, over }) {
    this.#single = single;
    this.send = send;
    this.buffered = buffered;
    this.#ended = over;
  }

  take(fields, payload) {
    if (fields.type === "error") {
      this.fail(new LipSyncError(fields.message, fields.code));
      return;
    }
    if (fields.type !== "done") this.#waiting.push({ fields, payload });
    if (fields.type === "done" || this.#single) this.#finish();
    this.#wake?.();
  }

  fail(error) {
    if (this.#over) return;
    this.#error = error;
    this.#finish();
    this.#wake?.();
  }

  /** @returns {Promise<{fields: object, payload: Uint8Array} | null>} null after the last one */
  async next() {
    while (!this.#waiting.length && !this.#over) {
      await new Promise((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
    if (this.#waiting.length) return this.#waiting.shift();
    if (this.#error) throw this.#error;
    return null;
  }

  /** @param {Output} output */
  async *frames({ format = "JPEG" }) {
    try {
      for (let answer; (answer = await this.next()); ) yield new LipSyncFrame(answer.fields, answer.payload, format);
    } finally {
      this.cancel();
    }
  }

  cancel() {
    if (this.#over) return;
    this.#over = true;
    this.#waiting = [];
    this.#ended(true);
    this.#wake?.();
  }

  #finish() {
    this.#over = true;
    this.#ended(false);
  }
}
