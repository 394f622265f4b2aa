// A sound file in the microphone's place.

export class Recording {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AudioBufferSourceNode | null} */
  #source = null;

  /**
   * Decode a file. It plays from `start` on, once.
   *
   * @param {File} file
   * @returns {Promise<MediaStream>} its sound, silence before and after it
   */
  async open(file) {
    this.close();
    const context = new AudioContext();
    this.#context = context;
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    const target = context.createMediaStreamDestination();
    this.#source = new AudioBufferSourceNode(context, { buffer });
    this.#source.connect(target);
    return target.stream;
  }

  /** Play from the beginning, unless it plays already. */
  start() {
    const source = this.#source;
    this.#source = null;
    source?.start();
  }

  close() {
    this.#source = null;
    this.#context?.close();
    this.#context = null;
  }
}
