// Sound for the lip-sync service: 16 kHz mono Float32Array in -1..1, of files and microphones, cut into 40 ms chunks.

export const SAMPLE_RATE_HZ = 16_000;
export const FRAME_RATE_HZ = 25;
export const CHUNK_SAMPLES = 640;
export const CHUNKS_BEFORE = 8;
export const CHUNKS_AFTER = 7;
/** A frame hears its own chunk, 8 before it and 7 after. */
export const WINDOW_CHUNKS = CHUNKS_BEFORE + 1 + CHUNKS_AFTER;

/**
 * @param {number} frameCount
 * @returns {number} chunks that so many consecutive frames need
 */
export function requiredChunks(frameCount) {
  if (!Number.isInteger(frameCount) || frameCount < 1) throw new RangeError(`a request is for at least 1 frame; got ${frameCount}`);
  return frameCount + WINDOW_CHUNKS - 1;
}

/**
 * Fill up a sound with silence to whole chunks.
 *
 * @param {Float32Array} samples mono, 16 kHz
 * @returns {Float32Array} a multiple of 640 samples; `samples` itself where it is one
 */
export function chunk(samples) {
  const whole = Math.ceil(samples.length / CHUNK_SAMPLES) * CHUNK_SAMPLES;
  if (whole === samples.length) return samples;
  const filled = new Float32Array(whole);
  filled.set(samples);
  return filled;
}

/**
 * The chunks of a request: 8 before its first frame's own to 7 after its last one's; past either end of the sound its first or last chunk
 * is repeated.
 *
 * @param {Float32Array} samples the whole sound
 * @param {{start?: number, frameCount?: number}} [range] by default all frames of the sound
 * @returns {Float32Array} (frameCount + 15) * 640 samples; no copy where nothing had to be repeated
 */
export function pad(samples, { start = 0, frameCount } = {}) {
  const chunks = chunk(samples);
  const count = chunks.length / CHUNK_SAMPLES;
  if (!count) throw new RangeError("there is no chunk to repeat: the sound is empty");
  const first = start - CHUNKS_BEFORE;
  const end = first + requiredChunks(frameCount ?? count - start);
  if (first >= 0 && end <= count) return chunks.subarray(first * CHUNK_SAMPLES, end * CHUNK_SAMPLES);
  const padded = new Float32Array((end - first) * CHUNK_SAMPLES);
  for (let at = first; at < end; at++) {
    const own = Math.min(Math.max(at, 0), count - 1) * CHUNK_SAMPLES;
    padded.set(chunks.subarray(own, own + CHUNK_SAMPLES), (at - first) * CHUNK_SAMPLES);
  }
  return padded;
}

/**
 * @param {Float32Array} padded the chunks of a request
 * @param {number} index which of its frames
 * @returns {Float32Array} the 16 chunks that it hears, no copy
 */
export function window(padded, index) {
  const frames = padded.length / CHUNK_SAMPLES - WINDOW_CHUNKS + 1;
  if (!(index >= 0 && index < frames)) throw new RangeError(`there are the frames 0 to ${frames - 1}; got ${index}`);
  return padded.subarray(index * CHUNK_SAMPLES, (index + WINDOW_CHUNKS) * CHUNK_SAMPLES);
}

/**
 * Decode a sound file of any kind that the browser plays.
 *
 * @param {Blob | ArrayBuffer} file
 * @returns {Promise<Float32Array>} mono, 16 kHz
 */
export async function decode(file) {
  const data = file instanceof ArrayBuffer ? file : await file.arrayBuffer();
  const buffer = await new OfflineAudioContext(1, 1, SAMPLE_RATE_HZ).decodeAudioData(data);
  const samples = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((value, at) => (samples[at] += value / buffer.numberOfChannels));
  }
  return samples;
}

/** Any rate to 16 kHz, as a stream: a windowed sinc, for browsers whose audio graph keeps the device's rate. */
export class Resampler {
  #step;
  #taps;
  #cutoff;
  #held;
  /** Of the next sample, in held ones. */
  #at;

  /** @param {number} rateHz of what is pushed */
  constructor(rateHz) {
    this.#step = rateHz / SAMPLE_RATE_HZ;
    this.#cutoff = Math.min(1, 1 / this.#step) * 0.95;
    this.#taps = Math.ceil(12 / this.#cutoff);
    this.#held = new Float32Array(this.#taps);
    this.#at = this.#taps;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} what is known now
   */
  push(samples) {
    if (this.#step === 1) return samples;
    const held = new Float32Array(this.#held.length + samples.length);
    held.set(this.#held);
    held.set(samples, this.#held.length);
    const made = [];
    for (; this.#at + this.#taps < held.length; this.#at += this.#step) {
      const first = Math.ceil(this.#at - this.#taps);
      let sum = 0;
      for (let n = first; n <= this.#at + this.#taps; n++) {
        const x = n - this.#at;
        const fade = 0.5 + 0.5 * Math.cos((Math.PI * x) / (this.#taps + 1));
        const angle = Math.PI * x * this.#cutoff;
        sum += held[n] * fade * this.#cutoff * (x === 0 ? 1 : Math.sin(angle) / angle);
      }
      made.push(sum);
    }
    const gone = Math.max(Math.floor(this.#at) - this.#taps, 0);
    this.#held = held.slice(gone);
    this.#at -= gone;
    return Float32Array.from(made);
  }
}

/**
 * Listen to a microphone or any other stream.
 *
 * @param {MediaStream} stream
 * @param {(samples: Float32Array) => void} take is given 16 kHz mono as it comes
 * @returns {Promise<() => void>} stops listening
 */
export async function listen(stream, take) {
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("pcm_tap.js", import.meta.url));
    const tap = new AudioWorkletNode(context, "pcm-tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    const resampler = new Resampler(context.sampleRate);
    tap.port.onmessage = ({ data }) => {
      const samples = resampler.push(data);
      if (samples.length) take(samples);
    };
    context.createMediaStreamSource(stream).connect(tap);
    await context.resume();
    return () => {
      tap.port.onmessage = null;
      context.close();
    };
  } catch (error) {
    context.close();
    throw error;
  }
}
