// Sound on its way into a chunked session: files of any kind as pieces, and samples as WAV.

/** @typedef {Float32Array | Int16Array | AudioBuffer} Samples */
/** @typedef {{samples: Samples, rateHz: number}} Piece */

/** Films have sound of this rate. */
const FILE_RATE_HZ = 48_000;
const HEADER_BYTES = 44;

/**
 * Samples as a WAV file of 16 bits.
 *
 * @param {Samples} samples mono, floats in -1..1 or integers; or a buffer with any number of channels, which keeps them
 * @param {number} rateHz of samples without a rate of their own
 * @returns {Blob}
 */
export function wav(samples, rateHz) {
  const isBuffer = typeof AudioBuffer !== "undefined" && samples instanceof AudioBuffer;
  const channels = isBuffer ? Array.from({ length: samples.numberOfChannels }, (_, n) => samples.getChannelData(n)) : [samples];
  const rate = isBuffer ? samples.sampleRate : rateHz;
  const frameBytes = 2 * channels.length;
  const dataBytes = frameBytes * samples.length;
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + dataBytes));
  const text = (at, letters) => [...letters].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + dataBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * frameBytes, true);
  view.setUint16(32, frameBytes, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, dataBytes, true);
  for (const [which, values] of channels.entries()) {
    let at = HEADER_BYTES + 2 * which;
    for (const value of values) {
      view.setInt16(at, values instanceof Int16Array ? value : toInt16(value), true);
      at += frameBytes;
    }
  }
  return new Blob([view.buffer], { type: "audio/wav" });
}

/** What is no number is silence; what is too loud is clipped. */
function toInt16(value) {
  return Math.round(32_767 * Math.max(-1, Math.min(1, value || 0)));
}

/**
 * A file's sound, decoded by the browser, in pieces of one mono channel.
 *
 * @param {Blob} file
 * @param {number} pieceS
 * @returns {AsyncGenerator<Piece>}
 * @throws {DOMException} EncodingError: the browser cannot decode it
 */
export async function* piecesOf(file, pieceS) {
  const buffer = await new OfflineAudioContext(1, 1, FILE_RATE_HZ).decodeAudioData(await file.arrayBuffer());
  const length = Math.max(Math.round(pieceS * FILE_RATE_HZ), 1);
  for (let begin = 0; begin < buffer.length; begin += length) {
    const samples = new Float32Array(Math.min(length, buffer.length - begin));
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const heard = buffer.getChannelData(channel).subarray(begin, begin + samples.length);
      for (let n = 0; n < heard.length; n++) samples[n] += heard[n] / buffer.numberOfChannels;
    }
    yield { samples, rateHz: FILE_RATE_HZ };
  }
}
