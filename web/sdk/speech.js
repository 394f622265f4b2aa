// Speech: the server's voices, the sound of a text, and texts that a live session says while they are being written.

import { AvatarError, request, requestJson } from "./signalling.js";

const LONGEST_MS = 120_000;

/**
 * @typedef {{id: string, language: string, title: string, rate_hz: number, abilities: string[], licence: string}} Voice
 * @typedef {{voice?: string, speed?: number, pitch?: number, emotion?: string, style?: string, seed?: number, ssml?: boolean}} Manner
 */

/**
 * @param {URL | string} [server] its address; this page's own where none is given
 * @returns {Promise<{voices: Voice[], defaultVoice: string}>} best first
 * @throws {AvatarError}
 */
export async function listVoices(server = document.baseURI) {
  const answer = await requestJson(new URL("api/voices", server));
  return { voices: answer.voices, defaultVoice: answer.default };
}

/**
 * @param {string} text plain, or SSML
 * @param {Manner & {server?: URL | string, signal?: AbortSignal}} [how]
 * @returns {Promise<Blob>} a WAV file
 * @throws {AvatarError}
 */
export async function synthesize(text, { server = document.baseURI, signal, ...manner } = {}) {
  const url = new URL("api/speech", server);
  const response = await request(url, { method: "POST", json: { text, ...manner }, signal, timeoutMs: LONGEST_MS });
  return response.blob();
}

/**
 * A text that is still being written, a language model's for example: each sentence is said as soon as it is whole.
 *
 *   const stream = new TextStream(session.sessionId, { voice: "hibari/heart" });
 *   for await (const token of tokens) stream.write(token);
 *   await stream.end();
 *
 * Events: `speech` with detail `{id, state}`, `caption` with detail `{id, text, words}`, `refused` with detail `{code, message}`.
 */
export class TextStream extends EventTarget {
  #socket;
  #manner;
  #open;
  #done;

  /**
   * @param {string} sessionId
   * @param {Manner & {server?: URL | string}} [how]
   */
  constructor(sessionId, { server = document.baseURI, ...manner } = {}) {
    super();
    const url = new URL(`ws/speak/${encodeURIComponent(sessionId)}`, server);
    url.protocol = url.protocol.replace("http", "ws");
    this.#manner = manner;
    this.#socket = new WebSocket(url);
    this.#open = new Promise((resolve, reject) => {
      this.#socket.addEventListener("open", resolve, { once: true });
      this.#socket.addEventListener("close", () => reject(new AvatarError("connection_lost", "The session is gone.")), { once: true });
    });
    this.#open.catch(() => {}); // Told by `write` and `end`; a stream that nobody uses may fail quietly.
    this.#done = new Promise((resolve) => this.#socket.addEventListener("close", resolve, { once: true }));
    this.#socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(data)));
  }

  /** Append to the text. */
  async write(text) {
    await this.#send({ text, ...this.#manner });
  }

  /** Silence what is being said; what is written next begins anew. */
  async interrupt() {
    await this.#send({ interrupt: true });
  }

  /** The text is whole: resolves when it has been said, or was interrupted. */
  async end() {
    await this.#send({ end: true });
    await Promise.race([this.#done, this.#turnEnds()]);
    this.close();
  }

  /** Hang up; what has been written is still said. */
  close() {
    this.#socket.close();
  }

  async #send(message) {
    await this.#open;
    if (this.#socket.readyState !== WebSocket.OPEN) throw new AvatarError("connection_lost", "The session is gone.");
    this.#socket.send(JSON.stringify(message));
  }

  #turnEnds() {
    return new Promise((resolve) => {
      this.addEventListener("speech", ({ detail }) => ["finished", "interrupted", "failed"].includes(detail.state) && resolve());
    });
  }

  #receive(message) {
    const type = message.type === "error" ? "refused" : message.type;
    if (["speech", "caption", "refused"].includes(type)) this.dispatchEvent(new CustomEvent(type, { detail: message }));
  }
}
