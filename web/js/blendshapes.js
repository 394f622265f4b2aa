// The page of bars: the avatar's face as numbers while it speaks your words, plays a recording, or somebody else talks to it.

import { AvatarSession } from "../sdk/avatar.js";
import { PictureClock } from "../sdk/blendshapes.js";
import { requestJson } from "../sdk/signalling.js";
import { WhepViewer } from "../sdk/whep.js";
import { describeFailure, findObstacle } from "./failures.js";
import { Microphone } from "./microphone.js";
import { followShape, keepScreenOn } from "./playback.js";
import { Recording } from "./recording.js";
import { ShapeBars } from "./shape_bars.js";

const STATUS = {
  still: "",
  asking: "Waiting for the microphone…",
  connecting: "Connecting…",
  waiting: "Trying again in a moment…",
};
/** The rate is counted over so many faces. */
const RATE_FACES = 50;
/** Without a picture for so long, or in a browser that tells too little of it, bars follow the faces as they arrive. */
const OUT_OF_STEP_MS = 300;

const query = new URLSearchParams(location.search);
const watched = query.get("session");
const element = (id) => document.getElementById(id);

const bars = new ShapeBars(element("groups"));
const microphone = new Microphone();
const recording = new Recording();
const clock = new PictureClock();

/** @type {AvatarSession | WhepViewer | null} */
let connection = null;
/** Rises with every start and stop: what was asked for under another number is no longer wanted. */
let turn = 0;
let letScreenSleep = () => {};
let arrivalsMs = [];
let lastIndex = null;
let missing = 0;
/** When a picture last told which face is its own. */
let inStepAtMs = 0;

async function speak() {
  const mine = begin("asking");
  try {
    await microphone.open("");
  } catch (error) {
    if (mine === turn) fail(error);
    return;
  }
  // Through loudspeakers the returned voice would reach the microphone again.
  join(new AvatarSession(), { status: "Speak now.", muted: true }, microphone.stream);
}

async function play(file) {
  const mine = begin("connecting");
  try {
    const stream = await recording.open(file);
    if (mine === turn) join(new AvatarSession(), { status: `Playing ${file.name}`, muted: false }, stream);
  } catch (error) {
    if (mine === turn) fail({ message: `${file.name} is no sound file that this browser can play. Choose another one.`, cause: error });
  }
}

function watch() {
  begin("connecting");
  join(new WhepViewer(), { status: "Watching a conversation.", muted: true });
}

function begin(phase) {
  stop();
  letScreenSleep = keepScreenOn();
  enter(phase);
  return turn;
}

function join(made, { status, muted }, stream) {
  connection = made;
  const on = (type, handle) => made.addEventListener(type, ({ detail }) => made === connection && handle(detail));
  on("state", ({ state, error }) => {
    if (state === "connecting" && document.body.dataset.phase !== "waiting") enter("connecting");
    if (state === "connected") {
      warn(null);
      enter("live", status);
      recording.start();
    }
    if (state === "waiting") {
      enter("waiting");
      rest();
      warn(describeFailure(error));
    }
    if (state === "failed") fail(error);
  });
  on("media", ({ stream: media }) => {
    element("face").srcObject = media;
    element("face").muted = muted;
    element("face").play().catch(() => {});
  });
  on("blendshapes", show);
  on("refused", (error) => warn({ title: "No blendshapes from this avatar", text: error.message }));
  made.askForBlendshapes();
  // Every outcome also comes as a `state`.
  if (made instanceof WhepViewer) made.watch(watched).catch(() => {});
  else made.connect({ avatar: query.get("avatar"), microphoneStream: stream }).catch(() => {});
}

function stop() {
  turn++;
  connection?.close();
  connection = null;
  microphone.close();
  recording.close();
  letScreenSleep();
  element("face").srcObject = null;
  warn(null);
  rest();
  enter("still");
}

function fail(error) {
  stop();
  warn(describeFailure(error));
}

/** @param {import("../sdk/blendshapes.js").Face} face */
function show(face) {
  clock.add(face);
  // With the picture where that is possible, and else as they come.
  if (performance.now() - inStepAtMs > OUT_OF_STEP_MS) bars.show(face);
  if (lastIndex !== null && face.index > lastIndex) missing += face.index - lastIndex - 1;
  lastIndex = face.index;
  arrivalsMs.push(performance.now());
  if (arrivalsMs.length > RATE_FACES) arrivalsMs.shift();
  const spanMs = arrivalsMs.at(-1) - arrivalsMs[0];
  element("time").textContent = `${face.time.toFixed(2)} s`;
  element("rate").textContent = spanMs > 500 ? ((1000 * (arrivalsMs.length - 1)) / spanMs).toFixed(1) : "–";
  element("missing").textContent = String(missing);
}

/** Show the face of the picture that is about to be seen. */
function showWithPicture(_nowMs, frame) {
  const face = clock.faceOf(frame);
  if (face) {
    inStepAtMs = performance.now();
    bars.show(face);
  }
  followShape(element("face"));
element("face").requestVideoFrameCallback(showWithPicture);
}

/** Show a face at rest, and no figures. */
function rest() {
  clock.reset();
  bars.clear();
  arrivalsMs = [];
  lastIndex = null;
  missing = 0;
  for (const id of ["time", "rate", "missing"]) element(id).textContent = "–";
}

function enter(phase, status = STATUS[phase]) {
  document.body.dataset.phase = phase;
  element("status").textContent = status;
  element("sources").hidden = phase !== "still" || watched !== null;
  element("stop").hidden = phase === "still" || watched !== null;
}

/** @param {{title: string, text: string} | null} words null takes them back */
function warn(words) {
  element("notice").hidden = !words;
  element("notice-title").textContent = words?.title ?? "";
  element("notice-text").textContent = words?.text ?? "";
}

/** Until it moves, show the avatar's still picture. */
async function showPoster() {
  const facts = watched && (await requestJson(`api/sessions/${encodeURIComponent(watched)}`).catch(() => null));
  const config = await requestJson("api/config").catch(() => null);
  const name = facts?.avatar ?? query.get("avatar") ?? config?.default_avatar;
  if (name) element("poster").src = `api/avatars/${encodeURIComponent(name)}/poster`;
}

element("speak").addEventListener("click", speak);
element("stop").addEventListener("click", () => {
  stop();
  element("speak").focus();
});
element("recording").addEventListener("change", ({ currentTarget }) => {
  const [file] = currentTarget.files;
  currentTarget.value = ""; // so that the same file can be chosen again
  if (file) play(file);
});
microphone.addEventListener("unplugged", () => fail({ code: "microphone_none" }));
addEventListener("pagehide", stop);

element("face").requestVideoFrameCallback?.(showWithPicture);
showPoster();
const obstacle = findObstacle();
if (watched !== null && obstacle?.code !== "no_webrtc") watch();
else if (obstacle) {
  warn(describeFailure(obstacle));
  element("speak").disabled = true;
  element("recording").disabled = true;
}
