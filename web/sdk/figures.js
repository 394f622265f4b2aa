// Live figures of one peer connection, from getStats: frames a second, loss, jitter, round trip, delay in the browser.

/** Samples kept: at one a second, the figures are means over the last few seconds. */
const WINDOW = 5;

/**
 * @typedef {object} Figures
 * @property {number | null} fps decoded frames a second
 * @property {number | null} lossPercent lost packets, the worse of both directions
 * @property {number | null} jitterMs of the received sound
 * @property {number | null} roundTripMs as ICE measures it
 * @property {number | null} playoutMs time that a frame spends in this browser before it is shown
 * @property {number} packets received so far: one that does not grow means that nothing arrives
 */

export class FiguresMeter {
  #peer;
  #samples = [];

  /** @param {RTCPeerConnection} peer */
  constructor(peer) {
    this.#peer = peer;
  }

  /** @returns {Promise<Figures>} */
  async read() {
    const sample = condense(await this.#peer.getStats());
    this.#samples.push(sample);
    if (this.#samples.length > WINDOW) this.#samples.shift();
    const first = this.#samples[0];
    const grown = (key) => sample[key] - first[key];

    const seconds = grown("atMs") / 1000;
    const arrived = grown("packets");
    const lost = Math.max(0, grown("lost"));
    const lossDown = arrived + lost > 0 ? (100 * lost) / (arrived + lost) : null;
    const emitted = grown("emitted");
    return {
      fps: seconds > 0.5 ? grown("decoded") / seconds : null,
      lossPercent: lossDown === null ? null : Math.max(lossDown, sample.lossUpPercent),
      jitterMs: sample.jitterMs,
      roundTripMs: sample.roundTripMs,
      playoutMs: emitted > 0 ? (1000 * (grown("bufferedS") + grown("decodingS"))) / emitted : null,
      packets: sample.packets,
    };
  }
}

/** Reduce a stats report to the counters that the figures need. */
function condense(report) {
  const sample = {
    atMs: performance.now(),
    decoded: 0,
    packets: 0,
    lost: 0,
    emitted: 0,
    bufferedS: 0,
    decodingS: 0,
    lossUpPercent: 0,
    jitterMs: null,
    roundTripMs: null,
  };
  for (const stat of report.values()) {
    if (stat.type === "inbound-rtp") {
      sample.packets += stat.packetsReceived ?? 0;
      sample.lost += stat.packetsLost ?? 0;
      if (stat.kind === "audio") {
        sample.jitterMs = 1000 * (stat.jitter ?? 0);
      } else {
        sample.atMs = stat.timestamp;
        sample.decoded += stat.framesDecoded ?? 0;
        sample.emitted += stat.jitterBufferEmittedCount ?? 0;
        sample.bufferedS += stat.jitterBufferDelay ?? 0;
        sample.decodingS += stat.totalDecodeTime ?? 0;
      }
    } else if (stat.type === "remote-inbound-rtp") {
      sample.lossUpPercent = 100 * (stat.fractionLost ?? 0);
    } else if (stat.type === "candidate-pair" && stat.nominated && stat.currentRoundTripTime !== undefined) {
      sample.roundTripMs = 1000 * stat.currentRoundTripTime;
    }
  }
  return sample;
}
