// One lasting WebRTC connection to the server: dials, watches, and dials again until it is closed.

import { FiguresMeter } from "./figures.js";
import { AvatarError, describe, requestJson } from "./signalling.js";

const CONNECT_TIMEOUT_MS = 10_000;
/** "disconnected" often heals by itself, for instance when a phone changes cells. */
const DISCONNECTED_GRACE_MS = 3_000;
const SAMPLE_INTERVAL_MS = 1_000;
/** The server sends sound and pictures without a pause: so long without a packet means that it is gone. */
const STALL_MS = 5_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_LAST_MS = 8_000;
/** A connection that held for so long was a good one: the next loss starts from the shortest wait. */
const STEADY_MS = 5_000;

/**
 * @typedef {"new" | "connecting" | "connected" | "waiting" | "failed" | "closed"} ConnectionState
 * `waiting`: lost or refused, and about to dial again. `failed`: refused for good.
 */

/**
 * Base of AvatarSession and WhepViewer, which say what is dialled.
 *
 * Events: `state` with detail `{state, error?, retryInMs?}`; `media` with detail `{stream}`; `figures` with detail Figures.
 */
export class Connection extends EventTarget {
  /** @type {ConnectionState} */
  #state = "new";
  #base;
  #attempt = 0;
  #losses = 0;
  #connectedAtMs = 0;
  #retryTimer = 0;
  /** @type {RTCPeerConnection | null} */
  #peer = null;
  /** @type {(() => void) | null} */
  #release = null;
  #stream = null;
  #opened = null;
  #onPageHide = () => this.close();
  #onOnline = () => this.retryNow();

  /** @param {{url?: URL | string}} [options] where the server's routes begin; by default beside the page */
  constructor({ url = document.baseURI } = {}) {
    super();
    this.#base = new URL(url, document.baseURI);
  }

  get state() {
    return this.#state;
  }

  /** @returns {MediaStream | null} the picture and the sound */
  get stream() {
    return this.#stream;
  }

  /** @param {string} path relative to the server's first route */
  urlOf(path) {
    return new URL(path, this.#base);
  }

  /**
   * Begin. Waits and dials again by itself, also when the very first attempt finds the server full or absent.
   *
   * @returns {Promise<void>} fulfilled once connected; rejected with an AvatarError when refused for good or closed
   */
  open() {
    if (this.#state !== "new") throw new Error("A connection is opened once. Make a new one.");
    addEventListener("pagehide", this.#onPageHide);
    addEventListener("online", this.#onOnline);
    this.#opened = Promise.withResolvers ? Promise.withResolvers() : withResolvers();
    this.#dial();
    return this.#opened.promise;
  }

  /** Hang up and free the server's place. May be called twice. */
  close() {
    this.#finish("closed", new AvatarError("closed", "The connection was closed by this page."));
  }

  /** Cut a wait short. */
  retryNow() {
    if (this.#state !== "waiting") return;
    clearTimeout(this.#retryTimer);
    this.#dial();
  }

  // What a subclass gives.

  /** Add tracks, transceivers and channels to a new peer connection. */
  prepare(_peer) {}

  /**
   * Bring the offer to the server.
   *
   * @param {string} _sdp
   * @returns {Promise<{sdp: string, release: () => void}>} the answer, and what frees the place that it took
   */
  async exchange(_sdp) {
    throw new Error("exchange is for a subclass to give");
  }

  /** Whether the error is worth another attempt. */
  passes(error) {
    return error.passing;
  }

  /** Called by a subclass that learned by its own means that the peer is gone. */
  lost(error) {
    if (this.#state === "connecting" || this.#state === "connected") this.#drop(error);
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Details.

  async #dial() {
    const attempt = ++this.#attempt;
    const stale = () => attempt !== this.#attempt;
    this.#enter("connecting");
    try {
      const config = await requestJson(this.urlOf("api/config"));
      if (stale()) return;
      const peer = new RTCPeerConnection({ iceServers: config.ice_servers ?? [], bundlePolicy: "max-bundle" });
      this.#peer = peer;
      this.#collect(peer);
      this.prepare(peer);
      const { sdp, release } = await this.exchange(await describe(peer));
      if (stale()) {
        release();
        return;
      }
      this.#release = release;
      await peer.setRemoteDescription({ type: "answer", sdp });
      await established(peer);
      if (stale()) return;
      this.#connectedAtMs = performance.now();
      this.#enter("connected");
      this.#opened.resolve();
      this.#watch(peer, stale);
    } catch (error) {
      if (stale()) return;
      this.#drop(error instanceof AvatarError ? error : new AvatarError("internal", String(error?.message), { cause: error }));
    }
  }

  /** Gather the tracks of one peer connection into one stream. */
  #collect(peer) {
    const own = new MediaStream();
    peer.addEventListener("track", ({ track, streams, receiver }) => {
      // The server's stream keeps lips and voice in step; its own is for a server that names none.
      const stream = streams[0] ?? own;
      if (stream === own) own.addTrack(receiver.track ?? track);
      this.#stream = stream;
      this.emit("media", { stream });
    });
  }

  async #watch(peer, stale) {
    let grace = 0;
    peer.addEventListener("connectionstatechange", () => {
      clearTimeout(grace);
      if (stale()) return;
      const error = new AvatarError("connection_lost", "The connection to the server broke.");
      if (peer.connectionState === "failed") this.lost(error);
      if (peer.connectionState === "disconnected") grace = setTimeout(() => stale() || this.lost(error), DISCONNECTED_GRACE_MS);
    });

    const meter = new FiguresMeter(peer);
    let packets = -1;
    let heardAtMs = performance.now();
    let lookedAtMs = heardAtMs;
    while (!stale() && this.#state === "connected") {
      const figures = await meter.read();
      if (stale() || this.#state !== "connected") return;
      const nowMs = performance.now();
      // A tab that slept looks late through no fault of the server.
      if (figures.packets !== packets || nowMs - lookedAtMs > 2 * SAMPLE_INTERVAL_MS) heardAtMs = nowMs;
      packets = figures.packets;
      lookedAtMs = nowMs;
      this.emit("figures", figures);
      if (nowMs - heardAtMs > STALL_MS) this.lost(new AvatarError("connection_lost", "Nothing arrives from the server any more."));
      else await new Promise((resolve) => setTimeout(resolve, SAMPLE_INTERVAL_MS));
    }
  }

  /** Give up this attempt, and wait for the next one where that can help. */
  #drop(error) {
    this.#hangUp();
    if (!this.passes(error)) {
      this.#finish("failed", error);
      return;
    }
    if (this.#connectedAtMs && performance.now() - this.#connectedAtMs > STEADY_MS) this.#losses = 0;
    this.#connectedAtMs = 0;
    const backoffMs = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** this.#losses++);
    // Spread, so that a hall of kiosks does not knock in step.
    const retryInMs = error.retryAfterS === null ? backoffMs * (0.75 + Math.random() / 2) : 1000 * error.retryAfterS;
    this.#retryTimer = setTimeout(() => this.#dial(), retryInMs);
    this.#enter("waiting", { error, retryInMs });
  }

  #finish(state, error) {
    if (this.#state === "closed" || this.#state === "failed") return;
    removeEventListener("pagehide", this.#onPageHide);
    removeEventListener("online", this.#onOnline);
    clearTimeout(this.#retryTimer);
    this.#hangUp();
    this.#enter(state, { error });
    this.#opened?.reject(error);
  }

  #hangUp() {
    this.#attempt++;
    // First the request: once the peer says goodbye, the server frees the place by itself and knows of none to free.
    this.#release?.();
    this.#release = null;
    this.#peer?.close();
    this.#peer = null;
    this.#stream = null;
  }

  #enter(state, facts = {}) {
    this.#state = state;
    this.emit("state", { state, ...facts });
  }
}

/** Wait until media can flow. */
function established(peer) {
  return new Promise((resolve, reject) => {
    const refuse = () => {
      reject(new AvatarError("no_media_path", "The server answered, but sound and picture found no way: UDP may be blocked."));
    };
    const timer = setTimeout(refuse, CONNECT_TIMEOUT_MS);
    const look = () => {
      if (peer.connectionState === "connected") resolve();
      else if (peer.connectionState === "failed" || peer.connectionState === "closed") refuse();
      else return;
      clearTimeout(timer);
    };
    peer.addEventListener("connectionstatechange", look);
    look();
  });
}

/** `Promise.withResolvers`, for browsers from before 2024. */
function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
