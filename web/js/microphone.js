// The microphone: which there are, the one in use, how loud it is, and what is in the way.

/** Sound between these levels fills the meter. */
const FLOOR_DBFS = -58;
const CEILING_DBFS = -10;

export class MicrophoneError extends Error {
  /** @param {string} code one of failures.js */
  constructor(code, cause) {
    super(code, { cause });
    this.name = "MicrophoneError";
    this.code = code;
  }
}

/** Events: `devices` when the list may have changed, `unplugged` when the one in use is gone. */
export class Microphone extends EventTarget {
  /** @type {MediaStream | null} */
  #stream = null;
  /** Rises with every opening and closing: a microphone that arrives under an older number is let go at once. */
  #turn = 0;
  #muted = false;
  /** @type {AudioContext | null} */
  #context = null;
  #source = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  #wave = new Float32Array(2048);

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.dispatchEvent(new Event("devices")));
  }

  get stream() {
    return this.#stream;
  }

  get muted() {
    return this.#muted;
  }

  /** A muted microphone stays open and sends silence: the avatar idles. */
  set muted(muted) {
    this.#muted = muted;
    for (const track of this.#stream?.getTracks() ?? []) track.enabled = !muted;
  }

  /** @returns {Promise<{id: string, label: string}[]>} without the system's default; labels only once it was allowed */
  async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    return devices
      .filter(({ kind, deviceId, label }) => kind === "audioinput" && label && !["", "default", "communications"].includes(deviceId))
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  }

  /**
   * Open a microphone in place of the one that is open.
   *
   * @param {string} id of `list`; "" is the system's default, and so is one that is gone
   * @returns {Promise<MediaStream>}
   * @throws {MicrophoneError} also where another call of `open` or `close` came in between
   */
  async open(id) {
    const mine = ++this.#turn;
    const stream = await this.#ask(id);
    if (mine !== this.#turn) {
      for (const track of stream.getTracks()) track.stop();
      throw new MicrophoneError("superseded");
    }
    this.close();
    this.#stream = stream;
    this.muted = this.#muted;
    const [track] = stream.getAudioTracks();
    track.addEventListener("ended", () => {
      if (this.#stream !== stream) return;
      this.close();
      this.dispatchEvent(new Event("unplugged"));
    });
    this.#measure(stream);
    this.dispatchEvent(new Event("devices"));
    return stream;
  }

  /** Let go of the microphone: the browser's recording sign goes out. */
  close() {
    this.#turn++;
    const stream = this.#stream;
    this.#stream = null;
    for (const track of stream?.getTracks() ?? []) track.stop();
    this.#source?.disconnect();
    this.#source = null;
    this.#context?.suspend();
  }

  /** @returns {number} loudness of the last 40 ms, 0 (silence) to 1 (as loud as speech gets) */
  level() {
    if (!this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#wave);
    let energy = 0;
    for (const value of this.#wave) energy += value * value;
    const dbfs = 10 * Math.log10(energy / this.#wave.length + 1e-12);
    return Math.min(1, Math.max(0, (dbfs - FLOOR_DBFS) / (CEILING_DBFS - FLOOR_DBFS)));
  }

  async #ask(id) {
    const constraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: id ? { ...constraints, deviceId: { exact: id } } : constraints });
    } catch (error) {
      if (id && error.name === "OverconstrainedError") return this.#ask("");
      throw new MicrophoneError(codeOf(error), error);
    }
  }

  #measure(stream) {
    this.#context ??= new AudioContext();
    this.#context.resume();
    this.#analyser ??= new AnalyserNode(this.#context, { fftSize: this.#wave.length });
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }
}

/** The browsers' names for what is in the way. */
function codeOf({ name, message = "" }) {
  if (name === "NotAllowedError" || name === "SecurityError") {
    if (/system/i.test(message)) return "microphone_withheld";
    return /dismissed/i.test(message) ? "microphone_dismissed" : "microphone_denied";
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") return "microphone_none";
  return "microphone_busy";
}
