// The page of the lip-sync service: a recording or a microphone goes up, and its frames are drawn as they are heard.

import { LipSyncClient, decode, listen } from "../sdk/lipsync.js";
import { requestJson } from "../sdk/signalling.js";
import { describeFailure, findObstacle } from "./failures.js";
import { Microphone } from "./microphone.js";
import { keepScreenOn } from "./playback.js";

const OUTPUT = { format: "JPEG", jpeg_quality: 85 };
const FRAME_RATE_HZ = 25;
const CHUNK_SAMPLES = 640;
/** Pictures that wait to be shown, decoded. */
const MOST_READY = 25;
/** So many before the sound begins, and after it had to wait for pictures. */
const ENOUGH_READY = 12;
/** Small calls: the first pictures come sooner. */
const FRAMES_A_CALL = 50;
const RATE_FRAMES = 50;

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
const canvas = element("face");
const context = canvas.getContext("2d");
const microphone = new Microphone();

/** Rises with every start and stop: what was begun under another number is no longer wanted. */
let turn = 0;
let avatar = query.get("avatar");
let undo = [];
let drawnMs = [];

async function play(file) {
  const mine = begin("loading", `Reading ${file.name}…`);
  try {
    const samples = await decode(file).catch((cause) => {
      throw Object.assign(new Error(`${file.name} is no sound file that this browser can play. Choose another one.`), { cause });
    });
    if (mine !== turn) return;
    enter("live", `Playing ${file.name}`);
    element("lag-name").textContent = "Ready ahead";
    await perform(mine, samples, await file.arrayBuffer());
    if (mine === turn) stop();
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

/** Play a sound, and with it the pictures that come for it. */
async function perform(mine, samples, file) {
  const sound = new AudioContext();
  const source = new AudioBufferSourceNode(sound);
  source.connect(sound.destination);
  const ready = [];
  let startedS = null;
  let complete = false;
  let ended = false;
  let wake = () => {};
  source.onended = () => {
    ended = true;
    wake();
  };
  undo.push(() => {
    sound.close();
    for (const { bitmap } of ready) bitmap.close();
    wake();
  });
  source.buffer = await sound.decodeAudioData(file);
  const show = () => {
    if (mine !== turn) return;
    if (startedS === null && (ready.length >= ENOUGH_READY || complete)) {
      startedS = sound.currentTime;
      source.start();
    }
    const heardS = startedS === null ? -1 : sound.currentTime - startedS - (sound.outputLatency || 0);
    let due = null;
    while (ready.length && ready[0].index <= heardS * FRAME_RATE_HZ) {
      due?.bitmap.close();
      due = ready.shift();
    }
    if (due) draw(due.bitmap, due.batchSize, `${(ready.length / FRAME_RATE_HZ).toFixed(2)} s`);
    // Without pictures the sound waits for them.
    if (startedS !== null && !ready.length && !complete) sound.suspend();
    else if (sound.state === "suspended" && (ready.length >= ENOUGH_READY || complete)) sound.resume();
    wake();
    requestAnimationFrame(show);
  };
  requestAnimationFrame(show);
  let index = 0;
  for await (const frame of open().speak(samples, { model: avatar, output: OUTPUT, framesACall: FRAMES_A_CALL })) {
    if (mine !== turn) return;
    if (frame.error === null) ready.push({ index, bitmap: await frame.bitmap(), batchSize: frame.batchSize });
    index++;
    while (mine === turn && ready.length >= MOST_READY) await new Promise((resolve) => (wake = resolve));
  }
  complete = true;
  while (mine === turn && !ended) await new Promise((resolve) => (wake = resolve));
}

async function speak() {
  const mine = begin("loading", "Waiting for the microphone…");
  try {
    const stream = await microphone.open("");
    if (mine !== turn) return;
    const live = open().live({ model: avatar, output: OUTPUT, encoding: "INT16" });
    const completeMs = [];
    let samplesSent = 0;
    const deafen = await listen(stream, (samples) => {
      live.push(samples);
      samplesSent += samples.length;
      while (completeMs.length < Math.floor(samplesSent / CHUNK_SAMPLES)) completeMs.push(performance.now());
    });
    undo.push(deafen);
    if (mine !== turn) {
      deafen();
      return;
    }
    enter("live", "Speak now.");
    element("lag-name").textContent = "Behind the voice";
    for await (const frame of live) {
      if (mine !== turn) return;
      if (frame.error !== null) continue;
      const bitmap = await frame.bitmap();
      draw(bitmap, frame.batchSize, `${Math.round(performance.now() - completeMs[frame.frameId])} ms`);
    }
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

function open() {
  const client = new LipSyncClient({ token: query.get("access_token") ?? undefined });
  undo.push(() => client.close());
  return client;
}

function draw(bitmap, batchSize, lag) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  drawnMs.push(performance.now());
  if (drawnMs.length > RATE_FRAMES) drawnMs.shift();
  const spanMs = drawnMs.at(-1) - drawnMs[0];
  element("rate").textContent = spanMs > 500 ? ((1000 * (drawnMs.length - 1)) / spanMs).toFixed(1) : "–";
  element("batch").textContent = String(batchSize);
  element("lag").textContent = lag;
}

function begin(phase, status) {
  stop();
  undo.push(keepScreenOn());
  enter(phase, status);
  return turn;
}

function stop() {
  turn++;
  const undone = undo;
  undo = [];
  for (const each of undone) each();
  microphone.close();
  drawnMs = [];
  for (const id of ["rate", "batch", "lag"]) element(id).textContent = "–";
  warn(null);
  enter("still", "");
}

function fail(error) {
  stop();
  warn(describeFailure(error));
}

function enter(phase, status) {
  document.body.dataset.phase = phase;
  element("status").textContent = status;
  element("sources").hidden = phase !== "still";
  element("stop").hidden = phase === "still";
}

/** @param {{title: string, text: string} | null} words null takes them back */
function warn(words) {
  element("notice").hidden = !words;
  element("notice-title").textContent = words?.title ?? "";
  element("notice-text").textContent = words?.text ?? "";
}

/** Until it moves, show the avatar's still picture. */
async function showPoster() {
  avatar ??= (await requestJson("api/config").catch(() => null))?.default_avatar ?? "iris";
  element("poster").src = `api/avatars/${encodeURIComponent(avatar)}/poster`;
}

element("speak").addEventListener("click", speak);
element("stop").addEventListener("click", () => {
  stop();
  element("recording").focus();
});
element("recording").addEventListener("change", ({ currentTarget }) => {
  const [file] = currentTarget.files;
  currentTarget.value = ""; // so that the same file can be chosen again
  if (file) play(file);
});
microphone.addEventListener("unplugged", () => fail({ code: "microphone_none" }));
addEventListener("pagehide", stop);

showPoster();
if (findObstacle()) element("speak").disabled = true;
