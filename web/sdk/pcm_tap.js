// Runs on the audio thread: hands on what it hears, 20 ms at a time.

class PcmTap extends AudioWorkletProcessor {
  #kept = new Float32Array(Math.round(sampleRate / 50));
  #count = 0;

  process([[heard]]) {
    for (let at = 0; heard && at < heard.length; ) {
      const some = heard.subarray(at, at + this.#kept.length - this.#count);
      this.#kept.set(some, this.#count);
      this.#count += some.length;
      at += some.length;
      if (this.#count === this.#kept.length) {
        this.port.postMessage(this.#kept.slice());
        this.#count = 0;
      }
    }
    return true;
  }
}

registerProcessor("pcm-tap", PcmTap);
