// The face as ARKit's 52 blendshapes, for pages that draw a head of their own: asked for over a connection's control channel.

/**
 * @typedef {object} Face
 * @property {number} index of the tick, 25 a second; consecutive unless something was lost or skipped
 * @property {number} time media time in seconds: the clock of the picture's and the sound's time stamps, counted from tick 0
 * @property {Float32Array} values 52 of 0 to 1, in the order of `names`
 * @property {string[]} names as ARKit has them; left and right are the avatar's own
 * @property {{pitch: number, yaw: number, roll: number}} head degrees: down, to the right of the picture, to the right of the picture
 */

/** Media time of one tick on the clock of the pictures' RTP time stamps, 90 kHz, which wraps. */
const TICK_RTP = 3_600;
const RTP_WRAP = 2 ** 32;
const FACES_KEPT = 125;
const VOTES_KEPT = 50;

/**
 * Finds the face of a picture that is being shown. Faces arrive sooner than pictures are shown, which wait for stragglers and for
 * the decoder; and RTP time stamps begin anywhere. A picture and its face leave the server together, so most pictures tell
 * by the face that arrived with them where their clock began.
 *
 *   const clock = new PictureClock();
 *   session.addEventListener("blendshapes", ({ detail }) => clock.add(detail));
 *   video.requestVideoFrameCallback((_now, frame) => { const face = clock.faceOf(frame); });
 */
export class PictureClock {
  /** @type {{face: Face, atMs: number}[]} */
  #faces = [];
  /** @type {number[]} */
  #votes = [];

  /** @param {Face} face that has just arrived */
  add(face) {
    this.#faces.push({ face, atMs: performance.now() });
    if (this.#faces.length > FACES_KEPT) this.#faces.shift();
  }

  /**
   * @param {VideoFrameCallbackMetadata} frame
   * @returns {Face | null} null where it is not known, as in browsers that do not tell a frame's RTP time stamp
   */
  faceOf({ rtpTimestamp, receiveTime }) {
    if (rtpTimestamp === undefined || !this.#faces.length) return null;
    if (receiveTime !== undefined) this.#vote(rtpTimestamp, receiveTime);
    const origin = mostFrequent(this.#votes);
    if (origin === null) return null;
    const index = Math.round((((rtpTimestamp - origin) % RTP_WRAP) + RTP_WRAP) % RTP_WRAP / TICK_RTP);
    return this.#faces.find(({ face }) => face.index === index)?.face ?? null;
  }

  /** Forget the connection that is gone: the next one's clock begins elsewhere. */
  reset() {
    this.#faces = [];
    this.#votes = [];
  }

  #vote(rtpTimestamp, receiveTime) {
    const gap = ({ atMs }) => Math.abs(atMs - receiveTime);
    const { face } = this.#faces.reduce((best, other) => (gap(other) < gap(best) ? other : best));
    this.#votes.push((((rtpTimestamp - face.index * TICK_RTP) % RTP_WRAP) + RTP_WRAP) % RTP_WRAP);
    if (this.#votes.length > VOTES_KEPT) this.#votes.shift();
  }
}

/** What one connection asks for, over all its reconnects. */
export class BlendshapeFeed {
  #emit;
  #wanted = false;
  /** @type {RTCDataChannel | null} */
  #channel = null;
  #names = [];

  /** @param {(face: Face) => void} emit called for each tick while wanted */
  constructor(emit) {
    this.#emit = emit;
  }

  get wanted() {
    return this.#wanted;
  }

  /** @param {boolean} on */
  ask(on) {
    this.#wanted = on;
    this.#send();
  }

  /** Take a new peer's channel, which has just opened. */
  attach(channel) {
    this.#channel = channel;
    if (this.#wanted) this.#send();
  }

  /** Read a message of the server, if it is about blendshapes. */
  receive(message) {
    if (message?.type === "blendshape_names") {
      this.#names = message.names;
    } else if (message?.type === "blendshapes" && this.#wanted) {
      const [pitch, yaw, roll] = message.head;
      const values = Float32Array.from(message.values);
      this.#emit({ index: message.index, time: message.time, values, names: this.#names, head: { pitch, yaw, roll } });
    }
  }

  #send() {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify({ type: "blendshapes", on: this.#wanted }));
  }
}

/** @param {number[]} values @returns {number | null} null of none */
function mostFrequent(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  let best = null;
  for (const [value, count] of counts) if (best === null || count > counts.get(best)) best = value;
  return best;
}
