// Plays a growing HLS film of fragmented MP4 through Media Source Extensions: from its first segment or part on, without waiting for three.

import { parsePlaylist } from "./hls_playlist.js";
import { mimeType } from "./mp4_codecs.js";
import { AvatarError, request } from "./signalling.js";

/** Media that lies ready ahead of what is seen; more is fetched as it is used up. */
const AHEAD_S = 60;
/** What is left on either side of what is seen, where the browser's memory for media is full; the longest segment that a server may make. */
const KEPT_S = 10;
/** A hole in the film that is jumped over. */
const HOLE_S = 0.5;
/** Blocking reloads wait up to this long at the server. */
const TIMEOUT_MS = 30_000;
const TRIES = 5;
const FIRST_PAUSE_MS = 250;

/** In live mode: spare media when the next comes, and how much faster or slower to play beyond these bounds. */
const LITTLE_SPARE_S = 0.3;
const MUCH_SPARE_S = 1.2;
const TOO_FAR_S = 8;
const SLOWER = 0.95;
const FASTER = 1.08;

/**
 * One film on one video element. Playing, pausing, seeking and the sound are the element's own affair.
 *
 *   const player = new HlsPlayer(video, "/hls/ID/playlist.m3u8");
 *   player.addEventListener("error", ({ detail }) => console.error(detail.message));
 *   await video.play();
 *
 * Where there are no Media Source Extensions (iPhone), the browser's own HLS plays it.
 *
 * Events: `codecs` with detail the MIME type, once known; `error` with detail an AvatarError, after which nothing more is fetched.
 */
export class HlsPlayer extends EventTarget {
  #video;
  #url;
  #live;
  #mostAheadS;
  #closing = new AbortController();
  /** @type {MediaSource | null} */
  #source = null;
  /** @type {SourceBuffer | null} */
  #buffer = null;
  #init = null;
  /** The next piece to append: a segment's number, and which of its parts; null before the first playlist. */
  #next = null;
  #wake = () => {};

  /**
   * @param {HTMLVideoElement} video
   * @param {string | URL} url of the playlist
   * @param {{live?: boolean, aheadS?: number}} [options] live: begin at the film's end and stay near it; else from its beginning, and
   *   nothing is left out. aheadS: so much is fetched ahead of what is seen
   */
  constructor(video, url, { live = false, aheadS = AHEAD_S } = {}) {
    super();
    this.#video = video;
    this.#url = new URL(url, location.href);
    this.#live = live;
    this.#mostAheadS = aheadS;
    if (!HlsPlayer.ownPlayer) {
      video.src = this.#url.href;
      return;
    }
    const source = (this.#source = new MediaSource());
    const { signal } = this.#closing;
    const address = URL.createObjectURL(source);
    video.src = address;
    for (const event of ["timeupdate", "pause", "play"]) video.addEventListener(event, () => this.#wake(), { signal });
    video.addEventListener("seeking", () => this.#seek(), { signal });
    video.addEventListener("waiting", () => this.#jump(), { signal });
    source.addEventListener(
      "sourceopen",
      () => {
        URL.revokeObjectURL(address);
        this.#run().catch((error) => this.#fail(error));
      },
      { once: true, signal },
    );
  }

  /** Whether films are played by this module, not by the browser itself. */
  static get ownPlayer() {
    return typeof MediaSource !== "undefined" && MediaSource.isTypeSupported('video/mp4; codecs="avc1.42e01e,mp4a.40.2"');
  }

  /** Seconds of film that lie ready beyond what is seen. */
  get aheadS() {
    const { buffered, currentTime } = this.#video;
    for (let n = 0; n < buffered.length; n++) {
      if (buffered.start(n) <= currentTime + HOLE_S && currentTime <= buffered.end(n)) return buffered.end(n) - currentTime;
    }
    return 0;
  }

  /** Fetch nothing more and let go of the element; what it shows goes. */
  close() {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#wake();
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#video.playbackRate = 1;
  }

  async #run() {
    let playlist = await this.#load(null);
    for (;;) {
      this.#next ??= this.#begin(playlist);
      const piece = this.#piece(playlist);
      if (piece) {
        await this.#whileRoom();
        if (piece.asked !== this.#next) continue; // somebody sought meanwhile
        await this.#open(playlist);
        this.#tellLength(playlist);
        const data = await this.#ask(piece.uri, "arrayBuffer");
        if (piece.asked !== this.#next) continue;
        await this.#append(data, piece.beginS);
        if (piece.asked === this.#next) this.#next = piece.then;
        this.#keepPace(piece.durationS);
        this.#jump();
        continue;
      }
      if (playlist.ended) {
        if (this.#source.readyState === "open") {
          await this.#settled();
          this.#source.endOfStream();
          this.#video.playbackRate = 1;
        }
        await this.#woken();
      } else playlist = await this.#load(playlist);
    }
  }

  /** Where to begin. */
  #begin({ segments, ended }) {
    if (!segments.length) return null;
    return { number: segments[this.#live && !ended ? segments.length - 1 : 0].number, part: 0 };
  }

  /** What comes next of what is listed: a whole segment, or a part of the newest ones; null: nothing yet. */
  #piece({ segments }) {
    if (!segments.length || !this.#next) return null;
    const asked = this.#next;
    const segment = segments[Math.max(asked.number - segments[0].number, 0)];
    if (!segment) return null;
    const { number, parts, uri, beginS, durationS } = segment;
    const part = number === asked.number ? asked.part : 0;
    const after = { number: number + 1, part: 0 };
    if (part < parts.length && (part > 0 || !uri)) {
      const then = uri && part + 1 === parts.length ? after : { number, part: part + 1 };
      return { asked, then, beginS, ...parts[part] };
    }
    // Parts of older segments are listed no more: what was appended of it is appended again, which does no harm.
    if (uri && !(part > 0 && part === parts.length)) return { asked, then: after, beginS, uri, durationS };
    if (uri) this.#next = after;
    return uri ? this.#piece({ segments }) : null;
  }

  /** The playlist, once there may be something new in it. */
  async #load(old) {
    const url = new URL(this.#url);
    if (old?.canBlock && this.#next) {
      const newest = old.segments.at(-1);
      const writing = newest.uri ? newest.number + 1 : newest.number;
      url.searchParams.set("_HLS_msn", String(writing));
      if (old.partTargetS) url.searchParams.set("_HLS_part", String(newest.uri ? 0 : newest.parts.length));
    } else if (old) await this.#pause(old.partTargetS ? 1000 * old.partTargetS : Math.min(250 * old.targetS, 1000));
    for (;;) {
      try {
        return parsePlaylist(await this.#ask(url, "text"), this.#url);
      } catch (error) {
        // A session that was not fed yet has no playlist, and its address answers 404 until it has.
        if (!(error instanceof AvatarError) || error.status !== 404 || error.code === "unknown_session") throw error;
        await this.#pause(4 * FIRST_PAUSE_MS);
      }
    }
  }

  async #open({ init }) {
    if (!init || init === this.#init) return;
    const header = await this.#ask(init, "arrayBuffer");
    const type = mimeType(header);
    if (!MediaSource.isTypeSupported(type)) throw new AvatarError("unplayable", `This browser cannot play ${type}.`);
    if (this.#buffer) this.#buffer.changeType(type);
    else this.#buffer = this.#source.addSourceBuffer(type);
    this.#init = init;
    await this.#append(header, 0);
    this.dispatchEvent(new CustomEvent("codecs", { detail: type }));
  }

  /** Without being told, browsers let nobody seek beyond what is here. */
  #tellLength({ segments, ended }) {
    const source = this.#source;
    if (source.readyState !== "open") return;
    const { beginS, durationS } = segments.at(-1);
    if (!ended) source.setLiveSeekableRange(0, beginS + durationS);
    else if (!Number.isFinite(source.duration)) source.duration = Math.max(beginS + durationS, this.#endS);
  }

  get #endS() {
    const { buffered } = this.#buffer;
    return buffered.length ? buffered.end(buffered.length - 1) : 0;
  }

  async #append(data, beginS) {
    for (;;) {
      await this.#settled();
      try {
        this.#buffer.appendBuffer(data);
        return await this.#settled();
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        await this.#makeRoom(beginS);
      }
    }
  }

  /** The browser's memory for media is full: what was seen goes, or what lies far behind the new piece; where there is neither, it is waited for. */
  async #makeRoom(beginS) {
    const seenS = this.#video.currentTime;
    const { buffered } = this.#buffer;
    if (buffered.length && buffered.start(0) < seenS - KEPT_S) this.#buffer.remove(0, seenS - KEPT_S);
    else if (this.#endS > beginS + KEPT_S) this.#buffer.remove(beginS + KEPT_S, Infinity);
    else await this.#woken();
    await this.#settled();
  }

  async #settled() {
    while (this.#buffer?.updating) {
      await new Promise((resolve) => this.#buffer.addEventListener("updateend", resolve, { once: true }));
    }
    this.#closing.signal.throwIfAborted();
  }

  async #whileRoom() {
    while (this.aheadS > this.#mostAheadS) await this.#woken();
  }

  /** Begin again at what was sought, unless it is here. */
  #seek() {
    if (!this.#next) return;
    this.#seekNumber().then(
      (next) => {
        if (next) this.#next = next;
        this.#wake();
      },
      (error) => this.#fail(error),
    );
  }

  async #seekNumber() {
    if (this.aheadS > 0) return null;
    const { segments } = parsePlaylist(await this.#ask(this.#url, "text"), this.#url);
    const at = this.#video.currentTime;
    const sought = segments.findLast(({ beginS }) => beginS <= at) ?? segments[0];
    return { number: sought.number, part: 0 };
  }

  /** Over a hole, and to the first picture where the film does not begin at 0. */
  #jump() {
    const { buffered, currentTime } = this.#video;
    for (let n = 0; n < buffered.length; n++) {
      const begin = buffered.start(n);
      const isFirst = this.#live && n === buffered.length - 1 && this.#video.played.length === 0;
      if (begin > currentTime && (begin < currentTime + HOLE_S || isFirst)) {
        this.#video.currentTime = begin;
        return;
      }
    }
  }

  /** Stay close behind a live film's end, but not so close that each late piece halts it. */
  #keepPace(newS) {
    const video = this.#video;
    if (!this.#live || video.paused) return;
    const spareS = this.aheadS - newS;
    if (spareS > TOO_FAR_S) video.currentTime = this.#endS - newS;
    video.playbackRate = spareS < LITTLE_SPARE_S ? SLOWER : spareS > MUCH_SPARE_S ? FASTER : 1;
  }

  /**
   * Fetch; where the network or a server that restarts is in the way, again.
   *
   * @param {URL | string} url
   * @param {"text" | "arrayBuffer"} what
   */
  async #ask(url, what) {
    const { signal } = this.#closing;
    for (let tried = 1; ; tried++) {
      try {
        const response = await request(url, { signal, timeoutMs: TIMEOUT_MS });
        return await response[what]().catch((cause) => {
          signal.throwIfAborted();
          throw new AvatarError("unreachable", "The connection broke off.", { cause });
        });
      } catch (error) {
        if (!(error instanceof AvatarError) || !error.passing || tried === TRIES) throw error;
        await this.#pause(FIRST_PAUSE_MS * 2 ** tried);
      }
    }
  }

  async #pause(ms) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#closing.signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
    });
    this.#closing.signal.throwIfAborted();
  }

  async #woken() {
    await new Promise((resolve) => (this.#wake = resolve));
    this.#closing.signal.throwIfAborted();
  }

  #fail(error) {
    if (this.#closing.signal.aborted) return;
    const told = error instanceof AvatarError ? error : new AvatarError("unplayable", `The film cannot be played: ${error.message}.`, { cause: error });
    this.dispatchEvent(new CustomEvent("error", { detail: told }));
  }
}
