// A stream with sound, a microphone's or a call's, on its way into a chunked session.

/** @typedef {import("./chunked_sound.js").Piece} Piece */

/** Gathers what a stream gives until it makes a piece, and sends it. */
export class StreamFeed {
  #context = new AudioContext();
  #element = new Audio();
  /** @type {Float32Array[]} */
  #held = [];
  #count = 0;
  #length;
  #send;
  #open = true;
  #succeed;
  #fail;
  /** Resolves with the server's last answer after `end`; rejects when a piece could not be sent, with which it is over. */
  finished = new Promise((resolve, reject) => {
    this.#succeed = resolve;
    this.#fail = reject;
  });

  /**
   * @param {number} pieceS
   * @param {(piece: Piece, isFinal: boolean) => Promise<object>} send keeps the order of calls
   */
  constructor(pieceS, send) {
    this.#length = Math.round(pieceS * this.#context.sampleRate);
    this.#send = send;
    this.finished.catch(() => {}); // whoever asks for it still hears of a failure
  }

  /** @param {MediaStream} stream its end is this feed's end */
  async open(stream) {
    const context = this.#context;
    try {
      await context.audioWorklet.addModule(new URL("pcm_tap.js", import.meta.url));
      const tap = new AudioWorkletNode(context, "pcm-tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      tap.port.onmessage = ({ data }) => this.#hear(data);
      // Chromium hands on a call's sound only while an element plays it.
      this.#element.muted = true;
      this.#element.srcObject = stream;
      context.createMediaStreamSource(stream).connect(tap);
      for (const track of stream.getAudioTracks()) track.addEventListener("ended", () => this.end().catch(() => {}));
      await context.resume();
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /**
   * Listen no longer, send what is left, and say that nothing follows; calling it twice is fine.
   *
   * @returns {Promise<object>} `finished`
   */
  end() {
    if (this.#open) {
      this.#close();
      this.#send(this.#take(), true).then(this.#succeed, this.#fail);
    }
    return this.finished;
  }

  /** Listen no longer, and send nothing more. */
  cancel() {
    this.#close();
  }

  #close() {
    this.#open = false;
    this.#element.srcObject = null;
    if (this.#context.state !== "closed") this.#context.close();
  }

  #hear(samples) {
    if (!this.#open) return;
    this.#held.push(samples);
    this.#count += samples.length;
    if (this.#count < this.#length) return;
    this.#send(this.#take(), false).catch((error) => {
      this.#close();
      this.#fail(error);
    });
  }

  /** @returns {Piece} */
  #take() {
    const samples = new Float32Array(this.#count);
    let at = 0;
    for (const some of this.#held) {
      samples.set(some, at);
      at += some.length;
    }
    this.#held = [];
    this.#count = 0;
    return { samples, rateHz: this.#context.sampleRate };
  }
}
