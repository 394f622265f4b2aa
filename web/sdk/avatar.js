// A session with an avatar: your microphone in, its face and the voice back.
//
//   const session = new AvatarSession();
//   session.addEventListener("media", ({ detail }) => { video.srcObject = detail.stream; });
//   await session.connect({ avatar: "iris", microphoneStream: await navigator.mediaDevices.getUserMedia({ audio: true }) });

import { BlendshapeFeed } from "./blendshapes.js";
import { Connection } from "./connection.js";
import { AvatarError, request, requestJson } from "./signalling.js";

export { AvatarError };

const PING_INTERVAL_MS = 2_000;
/** Round trips kept: the figure is their median, so that one busy moment does not show. */
const PINGS_KEPT = 5;

/**
 * Beside the events of Connection: `mood` with detail `{mood}` ("connecting", "idle", "speaking", "closed": the session's
 * state on the server), `stats` with the server's figures, `avatar` with detail `{name}`, `style` with detail `{pose, gaze}`, and `refused` with detail
 * `{code, message}` where the server could not do what a message asked for. Of what it is given to say: `speech` with detail `{id, state}`
 * ("queued", "started", "finished", "interrupted", "failed"), and `caption` with detail `{id, text, words}` as a sentence begins to be heard.
 * Once asked for, `blendshapes` with detail Face
 * (blendshapes.js), 25 a second.
 */
export class AvatarSession extends Connection {
  #avatar = null;
  #style = {};
  #listening = false;
  #microphone = null;
  #sessionId = null;
  /** @type {RTCDataChannel | null} */
  #control = null;
  /** @type {RTCRtpSender | null} */
  #voice = null;
  #roundTripsMs = [];
  #serverStats = null;
  #figures = null;
  #blendshapes = new BlendshapeFeed((face) => this.emit("blendshapes", face));

  /** @param {{url?: URL | string}} [options] see Connection */
  constructor(options) {
    super(options);
    this.addEventListener("figures", ({ detail }) => {
      this.#figures = detail;
    });
  }

  /**
   * Join, and stay until `close`.
   *
   * @param {{avatar?: string | null, microphoneStream?: MediaStream | null}} what the server's default avatar where none is named
   * @returns {Promise<void>} see Connection.open
   */
  connect({ avatar = null, microphoneStream = null } = {}) {
    this.#avatar = avatar;
    this.#microphone = microphoneStream;
    return this.open();
  }

  /** Changes with every reconnect: a session on the server lives as long as one peer connection. */
  get sessionId() {
    return this.#sessionId;
  }

  /**
   * The latest figures: those of Connection, the server's, `roundTripMs` by ping, and `delayMs`, the estimated time from
   * your voice to the lips on your screen: what the server adds, the way there and back, and what this browser buffers.
   */
  get stats() {
    const server = this.#serverStats;
    const roundTripMs = median(this.#roundTripsMs) ?? this.#figures?.roundTripMs ?? null;
    const known = [server?.delay_ms, roundTripMs, this.#figures?.playoutMs];
    const delayMs = known.every(Number.isFinite) ? known.reduce((sum, part) => sum + part) : null;
    return { ...this.#figures, roundTripMs, delayMs, server };
  }

  /** Silence what is being spoken, and forget what waits. */
  interrupt() {
    this.#send({ type: "interrupt" });
  }

  /**
   * Say a text, after what is being said or, `interrupt`, in place of it.
   *
   * @param {string} text plain, or SSML
   * @param {import("./speech.js").Manner & {interrupt?: boolean}} [how]
   * @returns {Promise<number>} the turn's id, which events carry
   * @throws {AvatarError} nothing is said then
   */
  async speak(text, how = {}) {
    if (this.#sessionId === null) throw new AvatarError("closed", "There is no session yet: connect first.");
    const place = this.urlOf(`api/sessions/${encodeURIComponent(this.#sessionId)}/speak`);
    return (await requestJson(place, { method: "POST", json: { text, ...how } })).id;
  }

  /** Change the face, now and after a reconnect. */
  setAvatar(name) {
    this.#avatar = name;
    this.#send({ type: "avatar", name });
  }

  /**
   * Turn head and eyes, now and after a reconnect; what is left out stays. The server clamps, and tells what is in force in `style`.
   *
   * @param {{pose?: [number, number, number], gaze?: [number, number]}} style pitch (down), yaw and roll (to the picture's
   *   right) in degrees; x (to the picture's right) and y (up), -1 to 1
   */
  setStyle({ pose, gaze } = {}) {
    if (pose) this.#style.pose_style = pose;
    if (gaze) this.#style.gaze_style = gaze;
    this.#send({ type: "style", pose_style: pose, gaze_style: gaze });
  }

  /** Say whether somebody else speaks: while it does not speak itself, the avatar listens. Holds over reconnects. */
  setListening(on) {
    this.#listening = on;
    this.#send({ type: "listening", on });
  }

  /** Ask for the face as blendshapes, or for no more of them; holds over reconnects. An avatar without any is `refused`. */
  askForBlendshapes(on = true) {
    this.#blendshapes.ask(on);
  }

  /** Speak through another microphone, or none, without a new call. */
  async setMicrophone(stream) {
    this.#microphone = stream;
    await this.#voice?.replaceTrack(stream?.getAudioTracks()[0] ?? null);
  }

  prepare(peer) {
    const track = this.#microphone?.getAudioTracks()[0] ?? null;
    this.#voice = peer.addTransceiver(track ?? "audio", { direction: "sendrecv" }).sender;
    peer.addTransceiver("video", { direction: "recvonly" });
    this.#control = peer.createDataChannel("control", { ordered: true });
    this.#listen(this.#control);
  }

  async exchange(sdp) {
    const offer = { sdp, type: "offer", ...(this.#avatar === null ? {} : { avatar: this.#avatar }), ...this.#style };
    const answer = await requestJson(this.urlOf("offer"), { method: "POST", json: offer });
    const place = this.urlOf(`api/sessions/${encodeURIComponent(answer.session_id)}`);
    this.#sessionId = answer.session_id;
    return {
      sdp: answer.sdp,
      // keepalive lets the request outlive the page. The server notices a vanished peer anyway, only later.
      release: () => request(place, { method: "DELETE", keepalive: true }).catch(() => {}),
    };
  }

  #send(message) {
    if (this.#control?.readyState === "open") this.#control.send(JSON.stringify(message));
  }

  #listen(channel) {
    const current = () => channel === this.#control;
    let timer = 0;
    this.#roundTripsMs = [];
    this.#serverStats = null;
    const ping = () => {
      if (current()) this.#send({ type: "ping", t: performance.now() });
      else clearInterval(timer);
    };
    channel.addEventListener("open", () => {
      if (!current()) return;
      this.#blendshapes.attach(channel);
      if (this.#listening) this.#send({ type: "listening", on: true });
      timer = setInterval(ping, PING_INTERVAL_MS);
      ping();
    });
    channel.addEventListener("close", () => {
      clearInterval(timer);
      if (current()) this.lost(new AvatarError("connection_lost", "The server hung up."));
    });
    channel.addEventListener("message", ({ data }) => {
      if (current()) this.#receive(parsed(data));
    });
  }

  #receive(message) {
    switch (message?.type) {
      case "state":
        this.emit("mood", { mood: message.state });
        if (message.state === "closed") this.lost(new AvatarError("session_ended", "The server ended this session."));
        break;
      case "stats":
        this.#serverStats = message;
        this.emit("stats", message);
        break;
      case "pong":
        this.#roundTripsMs.push(performance.now() - message.t);
        if (this.#roundTripsMs.length > PINGS_KEPT) this.#roundTripsMs.shift();
        break;
      case "avatar":
        this.emit("avatar", { name: message.name });
        break;
      case "style":
        this.emit("style", { pose: message.pose_style, gaze: message.gaze_style });
        break;
      case "speech":
      case "caption":
        this.emit(message.type, message);
        break;
      case "error":
        this.emit("refused", { code: message.code, message: message.message });
        break;
      default: // A newer server may say more than this page understands.
        this.#blendshapes.receive(message);
    }
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function median(values) {
  return values.length ? [...values].sort((a, b) => a - b)[values.length >> 1] : null;
}
