// Put into a page before its own scripts: notes what goes into the microphone and what comes out of the mouth, on one clock.

(() => {
  const ask = MediaDevices.prototype.getUserMedia;
  MediaDevices.prototype.getUserMedia = async function (constraints) {
    const stream = await ask.call(this, constraints);
    window.microphoneOfTest = stream;
    return stream;
  };

  /** Loudness of a stream every 10 ms: [[seconds, root mean square], ...]. */
  function listen(context, stream, rows) {
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    context.createMediaStreamSource(stream).connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    return setInterval(() => {
      analyser.getFloatTimeDomainData(wave);
      rows.push([performance.now() / 1000, Math.sqrt(wave.reduce((sum, value) => sum + value * value, 0) / wave.length)]);
    }, 10);
  }

  /**
   * @param {{seconds: number, box: number[], shrink: number}} what box: [left, top, right, bottom] of the mouth, pixels
   * @returns {Promise<string>} JSON: {frames: [[s, [r, g, b, ...]], ...], spoken, returned: [[s, loudness], ...]}
   */
  window.watchFace = async ({ seconds, box, shrink }) => {
    const video = document.querySelector("video");
    const width = (box[2] - box[0]) / shrink;
    const height = (box[3] - box[1]) / shrink;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const notes = { frames: [], spoken: [], returned: [] };
    const audio = new AudioContext();
    const timers = [listen(audio, window.microphoneOfTest, notes.spoken), listen(audio, video.srcObject, notes.returned)];
    let watching = true;
    const onFrame = (_now, { expectedDisplayTime }) => {
      if (!watching) return;
      video.requestVideoFrameCallback(onFrame);
      context.drawImage(video, box[0], box[1], box[2] - box[0], box[3] - box[1], 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      const pixels = [];
      for (let at = 0; at < data.length; at += 4) pixels.push(data[at], data[at + 1], data[at + 2]);
      notes.frames.push([expectedDisplayTime / 1000, pixels]);
    };
    video.requestVideoFrameCallback(onFrame);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    watching = false;
    timers.forEach(clearInterval);
    await audio.close();
    return JSON.stringify(notes); // As text, because Playwright walks through every number of an object.
  };
})();
