// The page of chunked sessions: a photo and a recording, or the microphone, become a film that plays while it is made.

import { ChunkedStreamingClient } from "../sdk/chunked.js";
import { requestJson } from "../sdk/signalling.js";
import { OptionsForm } from "./chunked_options.js";
import { saveFilm } from "./chunked_save.js";
import { STATES, describe } from "./chunked_words.js";
import { findObstacle } from "./failures.js";
import { Microphone } from "./microphone.js";
import { Photo } from "./photo.js";
import { keepScreenOn, playAloud } from "./playback.js";

const STATUS_MS = 500;
const RATE_HZ = 16_000;
const MICROPHONE_PIECE_S = 0.25;

const query = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
const film = element("film");
const photo = new Photo(element("photo"), { portable: true });
const options = new OptionsForm(element("form"));
const microphone = new Microphone();
const client = new ChunkedStreamingClient();

/** Rises with every start and stop: what was begun under another number is no longer wanted. */
let turn = 0;
let undo = [];
/** @type {import("../sdk/chunked_feed.js").StreamFeed | null} */
let feed = null;

/**
 * Begin a session, play its film, and feed it.
 *
 * @param {string} status
 * @param {{live: boolean}} how
 * @param {(giveUp: AbortSignal) => Promise<void>} speak
 */
async function perform(status, how, speak) {
  if (!options.check()) return;
  const mine = ++turn;
  const giveUp = new AbortController();
  undo.push(keepScreenOn(), () => giveUp.abort());
  warn(null);
  enter("loading", "Looking at the photo…");
  try {
    await borrowed;
    if (mine !== turn) return;
    if (!photo.file) throw Object.assign(new Error(), { code: "not_a_photo" });
    const { warnings = [] } = await client.initSession(photo.file, { ...options.values, signal: giveUp.signal });
    if (warnings.length) remark({ title: "About this photo", text: warnings.map(sentence).join(" ") });
    watch(mine, how);
    enter("live", status);
    follow(mine, giveUp.signal);
    await speak(giveUp.signal);
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

function playRecording(file) {
  element("finish").hidden = true;
  return perform(`Saying ${file.name}`, { live: false }, async (signal) => {
    await client.feedFile(file, { signal });
  });
}

function speakToIt() {
  element("finish").hidden = false;
  return perform("Speak now. The film follows a little later, silent until that was all: the microphone would hear it.", { live: true }, async (signal) => {
    const stream = await microphone.open("");
    const made = await client.feedStream(stream, { pieceS: MICROPHONE_PIECE_S });
    signal.addEventListener("abort", () => made.cancel());
    if (signal.aborted) made.cancel();
    signal.throwIfAborted();
    feed = made;
    await feed.finished;
  });
}

/** Let the film be seen once there is a picture of it. */
function watch(mine, how) {
  const player = client.attach(film, how);
  player.addEventListener("error", ({ detail }) => mine === turn && fail(detail));
  film.requestVideoFrameCallback?.(() => mine === turn && (document.body.dataset.film = "seen"));
  film.onplaying = () => (document.body.dataset.film = "seen");
  film.onended = () => mine === turn && complete();
  // Through loudspeakers the microphone would hear the film, and the film what the microphone heard.
  if (how.live) {
    film.muted = true;
    film.play().catch(() => {});
  } else playAloud(film, (blocked) => mine === turn && blocked && tell("Touch the page to hear it."));
}

/** Show how far the server is. */
async function follow(mine, signal) {
  while (mine === turn) {
    try {
      const { status, total_frames_generated: frames, buffer_samples: samples, error } = await client.getStatus({ signal });
      if (mine !== turn) return;
      element("frames").textContent = frames.toLocaleString("en");
      element("waiting").textContent = `${(samples / RATE_HZ).toFixed(1)} s`;
      element("state").textContent = STATES[status] ?? status;
      if (status === "error") throw Object.assign(new Error(error), { code: "session_broke" });
      if (status === "complete") return;
    } catch (error) {
      if (mine === turn) fail(error);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, STATUS_MS));
  }
}

/** Nothing more comes from the microphone; what was said is shown to its end. */
async function finish() {
  element("finish").hidden = true;
  tell("The rest of the film follows.");
  await feed?.end().catch(() => {});
  microphone.close();
  film.muted = false;
}

function complete() {
  element("state").textContent = STATES.complete;
  enter("over", "That is the whole film.");
  film.controls = true;
  element("again").focus();
}

async function playAgain() {
  film.currentTime = 0;
  await film.play().catch(() => {});
}

/** End the session, also on the server. */
function stop({ keepalive = false } = {}) {
  turn++;
  const undone = undo;
  undo = [];
  for (const each of undone) each();
  feed = null;
  microphone.close();
  client.cleanup({ keepalive }).catch(() => {}); // one that is gone already is what was wanted
  film.controls = false;
  delete document.body.dataset.film;
  for (const id of ["frames", "waiting", "state"]) element(id).textContent = "–";
  warn(null);
  enter("still", "");
}

function fail(error) {
  stop();
  warn(describe(error));
  if (error.code === "no_face_found") element("options").open = true;
}

function enter(phase, status) {
  document.body.dataset.phase = phase;
  element("sources").hidden = phase !== "still";
  element("running").hidden = phase !== "loading" && phase !== "live";
  element("over").hidden = phase !== "over";
  tell(status);
}

function tell(status) {
  element("status").textContent = status;
}

/** @param {{title: string, text: string} | null} words null takes them back */
function warn(words) {
  element("notice").hidden = !words;
  element("notice").classList.remove("calm");
  element("notice-title").textContent = words?.title ?? "";
  element("notice-text").textContent = words?.text ?? "";
}

function remark(words) {
  warn(words);
  element("notice").classList.add("calm");
}

function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

async function choosePhoto(file) {
  try {
    await photo.choose(file);
    element("photo-name").textContent = "Choose another photo";
    warn(null);
  } catch (error) {
    warn(describe(error));
  }
}

/** Until a photo is chosen, the default avatar's own picture. */
async function borrowPhoto() {
  const avatar = query.get("avatar") ?? (await requestJson("api/config").catch(() => null))?.default_avatar ?? "iris";
  const answer = await fetch(`api/avatars/${encodeURIComponent(avatar)}/poster`).catch(() => null);
  if (answer?.ok && !photo.file) await photo.choose(await answer.blob()).catch(() => {});
}

/** A file input's file, once. */
function onFile(id, take) {
  element(id).addEventListener("change", ({ currentTarget }) => {
    const [file] = currentTarget.files;
    currentTarget.value = ""; // so that the same file can be chosen again
    if (file) take(file);
  });
}

function acceptDrops(frame) {
  frame.addEventListener("dragover", (event) => {
    if (document.body.dataset.phase !== "still") return;
    event.preventDefault();
    frame.dataset.over = "";
  });
  frame.addEventListener("dragleave", () => delete frame.dataset.over);
  frame.addEventListener("drop", (event) => {
    event.preventDefault();
    delete frame.dataset.over;
    const [file] = event.dataTransfer.files;
    if (file && document.body.dataset.phase === "still") choosePhoto(file);
  });
}

onFile("photo-file", choosePhoto);
onFile("recording", playRecording);
acceptDrops(element("frame"));
element("speak").addEventListener("click", speakToIt);
element("finish").addEventListener("click", finish);
element("again").addEventListener("click", playAgain);
element("save").addEventListener("click", () => saveFilm(client.hlsUrl).catch((error) => warn(describe(error))));
for (const id of ["stop", "end"]) {
  element(id).addEventListener("click", () => {
    stop();
    element("recording").focus();
  });
}
microphone.addEventListener("unplugged", finish);
addEventListener("pagehide", () => stop({ keepalive: true }));

const borrowed = borrowPhoto();
if (findObstacle()) element("speak").disabled = true;
