// Chunked sessions: a face goes up, sound follows in pieces, and a film of the face that says it comes back as HLS.
//
//   const client = new ChunkedStreamingClient();
//   await client.initSession(photo, { chunk_duration: 0.5 });
//   client.attach(video);
//   await client.feedFile(recording);                   // or feedStream(microphone), or feedAudioChunk(samples, isFinal)
//   await client.cleanup();

import { StreamFeed } from "./chunked_feed.js";
import { piecesOf, wav } from "./chunked_sound.js";
import { HlsPlayer } from "./hls_player.js";
import { AvatarError, request } from "./signalling.js";
import { WhepViewer } from "./whep.js";

const BASE = "api/audio-driven/chunked/";
/** Uploads take as long as the line needs; making a face of a photo takes a second. */
const TIMEOUT_MS = 60_000;
const RATE_HZ = 24_000;
const PIECE_S = 1;
const LIVE_PIECE_S = 0.5;
/** Between two tries where the server has too much waiting. */
const PATIENCE_MS = 1_000;
const FIELDS = new Set("session_id crop seed nfe cfg_scale chunk_duration audio_sample_rate pose_style gaze_style".split(" "));

/** @typedef {import("./chunked_sound.js").Samples} Samples */
/**
 * @typedef {{session_id?: string, crop?: boolean, seed?: number, nfe?: number, cfg_scale?: number, chunk_duration?: number,
 *   audio_sample_rate?: number, pose_style?: number[], gaze_style?: number[], signal?: AbortSignal}} Options
 * The server's names, or the same in camel case.
 */

/** What the server refused (`detail` has its words, `code` its own short name, `status` HTTP's), or that it does not answer. */
export class ChunkedError extends AvatarError {
  constructor(code, message, facts) {
    super(code, message, facts);
    this.name = "ChunkedError";
  }

  get detail() {
    return this.message;
  }
}

/** One session at a time. The names are those of the seed document on chunked audio sessions. */
export class ChunkedStreamingClient {
  #url;
  #rateHz = RATE_HZ;
  #sessionId = null;
  #hlsUrl = null;
  #warnings = [];
  /** The feed before: the next one waits for it. */
  #feeding = Promise.resolve();
  /** @type {Set<{close: () => void}>} */
  #players = new Set();

  /** @param {string | URL} [serverUrl] left out, the page's own server */
  constructor(serverUrl = new URL("/", location.href)) {
    this.#url = new URL(serverUrl, location.href);
    if (!this.#url.pathname.endsWith("/")) this.#url.pathname += "/";
  }

  /** @returns {string | null} none before `initSession` and after `cleanup` */
  get sessionId() {
    return this.#sessionId;
  }

  /** @returns {string | null} the film's whole address, for any player of HLS */
  get hlsUrl() {
    return this.#hlsUrl;
  }

  /** @returns {string[]} what the server said of the face */
  get warnings() {
    return this.#warnings;
  }

  /**
   * Begin a session.
   *
   * @param {Blob | ArrayBuffer | ArrayBufferView} imageFile a JPEG, PNG or WebP with one face
   * @param {Options} [options]
   * @returns {Promise<{session_id: string, hls_url: string, chunk_duration: number, audio_sample_rate: number, warnings?: string[]}>}
   * @throws {ChunkedError} the server is full, sees no face, or does not take an option. Where `signal` gives up, what the server makes
   *   nevertheless is deleted.
   */
  async initSession(imageFile, { signal, ...options } = {}) {
    const form = new FormData();
    form.append("image", blobOf(imageFile), "image");
    for (const [name, value] of Object.entries(options)) {
      const field = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      if (!FIELDS.has(field)) throw new TypeError(`initSession has no option ${name}; there are ${[...FIELDS].join(", ")}`);
      if (value !== undefined && value !== null) form.append(field, Array.isArray(value) ? JSON.stringify(value) : String(value));
    }
    signal?.throwIfAborted();
    const asked = this.#ask("init", { method: "POST", form });
    const answer = await unlessGivenUp(asked, signal, (late) => this.#delete(late.session_id));
    this.#feeding = Promise.resolve();
    this.#rateHz = answer.audio_sample_rate;
    this.#sessionId = answer.session_id;
    this.#hlsUrl = new URL(answer.hls_url.replace(/^\//, ""), this.#url).href;
    this.#warnings = answer.warnings ?? [];
    return answer;
  }

  /**
   * Feed sound. Calls at a time take their turns; one that fails does not hold back the next.
   *
   * @param {Samples | Blob | ArrayBuffer | Uint8Array | null} audio samples, a file of any kind, or null together with `isFinal`
   * @param {boolean} [isFinal] nothing follows
   * @param {{sampleRate?: number, signal?: AbortSignal}} [options] sampleRate: of bare samples; left out, that of `initSession`
   * @returns {Promise<{frames_generated: number, buffer_samples: number, session_status: string}>} and more
   * @throws {ChunkedError} there is no sound in it, too much is waiting, or the session is over
   */
  feedAudioChunk(audio, isFinal = false, { sampleRate = this.#rateHz, signal } = {}) {
    const form = new FormData();
    form.append("session_id", this.#open());
    form.append("is_final_chunk", String(isFinal));
    const sound = soundOf(audio, sampleRate);
    if (sound) form.append("audio_chunk", sound, "audio");
    const fed = this.#feeding.then(() => this.#ask("feed", { method: "POST", form, signal }));
    this.#feeding = fed.catch(() => {});
    return fed;
  }

  /**
   * Feed a file of any kind in pieces to its end. Where the server has too much waiting, it is waited for.
   *
   * @param {Blob} file one that this browser cannot decode is left to the server, whole
   * @param {{pieceS?: number, isFinal?: boolean, signal?: AbortSignal, onAnswer?: (answer: object) => void}} [options]
   * @returns {Promise<object>} the last answer
   */
  async feedFile(file, { pieceS = PIECE_S, isFinal = true, signal, onAnswer } = {}) {
    let answer = null;
    let held = null;
    const feed = async (audio, final, sampleRate) => {
      answer = await this.#feedPatiently(audio, final, { sampleRate, signal });
      onAnswer?.(answer);
    };
    try {
      for await (const piece of piecesOf(file, pieceS)) {
        if (held) await feed(held.samples, false, held.rateHz);
        held = piece;
      }
    } catch (error) {
      if (error.name !== "EncodingError") throw error;
      await feed(file, isFinal);
      return answer;
    }
    await feed(held?.samples ?? null, isFinal, held?.rateHz);
    return answer;
  }

  /**
   * Feed a microphone, or any other stream with sound, as it comes.
   *
   * @param {MediaStream} stream
   * @param {{pieceS?: number, onAnswer?: (answer: object) => void}} [options]
   * @returns {Promise<StreamFeed>}
   */
  async feedStream(stream, { pieceS = LIVE_PIECE_S, onAnswer } = {}) {
    this.#open();
    const feed = new StreamFeed(pieceS, async ({ samples, rateHz }, isFinal) => {
      const answer = await this.feedAudioChunk(samples, isFinal, { sampleRate: rateHz });
      onAnswer?.(answer);
      return answer;
    });
    await feed.open(stream);
    return feed;
  }

  /** Feed a track of a call, to its end: `feedStream` for what a peer connection's `track` event brings. */
  async feedTrack(track, options) {
    return await this.feedStream(new MediaStream([track]), options);
  }

  /** @returns {Promise<{status: string, total_frames_generated: number, buffer_samples: number, error: string | null}>} and more */
  async getStatus({ signal } = {}) {
    return await this.#ask(`status/${encodeURIComponent(this.#open())}`, { signal });
  }

  /**
   * Wait until the film is whole.
   *
   * @returns {Promise<object>} the last status
   * @throws {ChunkedError} `session_broke`: the server could not finish it
   */
  async wait({ everyMs = 250, signal } = {}) {
    for (;;) {
      const status = await this.getStatus({ signal });
      if (status.status === "complete") return status;
      if (status.status === "error") throw new ChunkedError("session_broke", `The session broke off: ${status.error}`);
      await pause(everyMs, signal);
    }
  }

  /**
   * Play the film.
   *
   * @param {HTMLVideoElement} video
   * @param {{live?: boolean}} [options] see HlsPlayer
   * @returns {HlsPlayer} for its events; `cleanup` closes it
   */
  attach(video, options) {
    this.#open();
    const player = new HlsPlayer(video, this.#hlsUrl, options);
    this.#players.add(player);
    return player;
  }

  /**
   * Watch the session by WebRTC, closer behind the sound than HLS can be; what was said while nobody watched is in the film alone.
   *
   * @param {HTMLVideoElement} video
   * @returns {WhepViewer} for its events; it plays as soon as there is a picture; `cleanup` closes it
   */
  watchLive(video) {
    const viewer = new WhepViewer({ url: this.#url });
    viewer.addEventListener("media", ({ detail }) => {
      if (video.srcObject === detail.stream) return; // told again with each track
      video.srcObject = detail.stream;
      video.autoplay = true;
    });
    viewer.watch(this.#open()).catch(() => {}); // its events tell of it
    const close = () => {
      viewer.close();
      video.srcObject = null;
    };
    this.#players.add({ close });
    return viewer;
  }

  /**
   * Delete the session and its film.
   *
   * @param {{keepalive?: boolean}} [options] keepalive: also while the page is being left
   * @returns {Promise<object | null>} the server's answer; null where there was no session
   */
  async cleanup({ keepalive = false } = {}) {
    const sessionId = this.#sessionId;
    for (const player of this.#players) player.close();
    this.#players.clear();
    this.#sessionId = this.#hlsUrl = null;
    return sessionId ? await this.#delete(sessionId, keepalive) : null;
  }

  async #delete(sessionId, keepalive = false) {
    return await this.#ask(`session/${encodeURIComponent(sessionId)}`, { method: "DELETE", keepalive });
  }

  #open() {
    if (!this.#sessionId) throw new ChunkedError("no_session", "There is no session; call initSession first.");
    return this.#sessionId;
  }

  async #feedPatiently(audio, isFinal, options) {
    for (;;) {
      try {
        return await this.feedAudioChunk(audio, isFinal, options);
      } catch (error) {
        if (error.code !== "buffer_full") throw error;
      }
      await pause(PATIENCE_MS, options.signal);
    }
  }

  async #ask(what, options) {
    try {
      return await (await request(new URL(BASE + what, this.#url), { timeoutMs: TIMEOUT_MS, ...options })).json();
    } catch (error) {
      if (!(error instanceof AvatarError)) throw error;
      throw new ChunkedError(error.code, error.message, error);
    }
  }
}

/** @returns {Blob} */
function blobOf(file) {
  if (file instanceof Blob) return file;
  if (file instanceof ArrayBuffer || ArrayBuffer.isView(file)) return new Blob([file]);
  throw new TypeError("a file is a File, a Blob or an ArrayBuffer");
}

/** @returns {Blob | null} null: there is nothing in it */
function soundOf(audio, rateHz) {
  const isSamples = audio instanceof Float32Array || audio instanceof Int16Array || audio instanceof AudioBuffer;
  if (isSamples) return audio.length ? wav(audio, rateHz) : null;
  return audio ? blobOf(audio) : null;
}

/** A promise, or the signal's reason; what the promise brings after that goes to `undo`. */
async function unlessGivenUp(promise, signal, undo) {
  if (!signal) return await promise;
  return await new Promise((resolve, reject) => {
    const giveUp = () => {
      reject(signal.reason);
      promise.then(undo).catch(() => {}); // nothing was made, or it is gone
    };
    signal.addEventListener("abort", giveUp, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

async function pause(ms, signal) {
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });
  signal?.throwIfAborted();
}
