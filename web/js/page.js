// The main page: choose, start, speak, stop.

import { AvatarSession } from "../sdk/avatar.js";
import { requestJson } from "../sdk/signalling.js";
import { describeFailure, findObstacle } from "./failures.js";
import { KeepDialog } from "./keep_dialog.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { OwnFace } from "./own_face.js";
import { PhotoDialog } from "./photo_dialog.js";
import { followShape, keepScreenOn } from "./playback.js";
import { SayBox } from "./say.js";
import { element, NO_MICROPHONE, OWN, View } from "./view.js";
import { VoiceStrip } from "./voice_strip.js";

const CONFIG_RETRY_MS = 3_000;
/** A microphone that is silent for so long after the start deserves a word. */
const SILENT_MS = 10_000;
const HEARD_LEVEL = 0.12;
/** One's own face that is gone again so soon after it was sent is not sent once more. */
const RENEWED_MS = 15_000;

const view = new View();
const microphone = new Microphone();
const strip = new VoiceStrip(element("voice"), () => listen());
const own = new OwnFace();
const photoDialog = new PhotoDialog(own);
const keepDialog = new KeepDialog(own);
const sayBox = new SayBox();

/** @type {AvatarSession | null} */
let session = null;
/** Rises with every start and stop: what was asked for under another number is no longer wanted. */
let turn = 0;
let silentSinceMs = 0;
let everHeard = false;
let defaultAvatar = "";
let renewedMs = -Infinity;
let letScreenSleep = () => {};

async function start() {
  const mine = ++turn;
  view.enter("asking");
  let avatar;
  try {
    if (view.microphone !== NO_MICROPHONE) await microphone.open(view.microphone);
    if (mine !== turn) return;
    view.enter("connecting");
    avatar = await chosenAvatar();
  } catch (error) {
    if (mine === turn) fail(error);
    return;
  }
  if (mine !== turn) return;
  listenAnew();
  strip.start();
  letScreenSleep = keepScreenOn();
  session = join(avatar);
  sayBox.attach(session);
}

/** @returns {Promise<string | null>} what the server calls the chosen avatar; one's own face is on the server then */
async function chosenAvatar() {
  if (view.avatar !== OWN) return view.avatar;
  const face = await own.ready();
  view.offerOwn(face.name);
  return face.name;
}

function stop() {
  turn++;
  sayBox.attach(null);
  session?.close();
  session = null;
  microphone.close();
  strip.stop();
  letScreenSleep();
  view.enter("still");
  if (own.release()) {
    view.remark("photo", { title: "Your photo is gone from the server", text: "Start sends it again, until you close this page." });
  }
}

/** Send one's own face again, which the server has lost, and join again. */
function renew() {
  own.lose();
  renewedMs = performance.now();
  stop();
  start();
}

/** End in words. */
function fail(error) {
  stop();
  view.warn(describeFailure(error));
}

function join(avatar) {
  const made = new AvatarSession();
  const on = (type, handle) => made.addEventListener(type, ({ detail }) => made === session && handle(detail));
  on("state", ({ state, error, retryInMs }) => {
    if (state === "connecting") view.enter("connecting");
    if (state === "connected") view.enter("live", { sessionId: made.sessionId });
    if (state === "waiting") view.enter("waiting", { words: describeFailure(error), retryInMs });
    if (state !== "failed") return;
    const lost = error.code === "unknown_avatar" && view.namedAvatar === OWN;
    if (lost && performance.now() - renewedMs > RENEWED_MS) renew();
    else fail(error);
  });
  on("media", ({ stream }) => view.show(stream));
  on("mood", ({ mood }) => view.feel(mood));
  on("figures", () => view.count(made.stats));
  on("avatar", ({ name }) => view.name(own.isShownAs(name) ? OWN : name));
  on("refused", (error) => {
    view.name(view.namedAvatar);
    view.warn(describeFailure(error));
  });
  // Every outcome also comes as a `state`, which is where it is shown. The events need `session`, hence a task of its own.
  queueMicrotask(() => made.connect({ avatar, microphoneStream: microphone.stream }).catch(() => {}));
  return made;
}

/** Read the level for the meter, and notice a microphone that gives nothing. */
function listen() {
  const level = microphone.level();
  const nowMs = performance.now();
  if (level > HEARD_LEVEL || microphone.muted || !microphone.stream || view.phase !== "live") {
    silentSinceMs = nowMs;
    if (!microphone.muted) everHeard ||= level > HEARD_LEVEL;
    view.calm("silence");
  } else if (!everHeard && nowMs - silentSinceMs > SILENT_MS) {
    // Once only: whoever was heard before is merely quiet.
    everHeard = true;
    view.remark("silence", describeFailure({ code: "microphone_silent" }));
  }
  return level;
}

function listenAnew() {
  silentSinceMs = performance.now();
  everHeard = false;
}

async function changeMicrophone() {
  if (!session) return;
  if (view.microphone === NO_MICROPHONE) {
    microphone.close();
    await session.setMicrophone(null);
    return;
  }
  try {
    await microphone.open(view.microphone);
  } catch (error) {
    // One that cannot be opened leaves the one in use as it is.
    if (error.code !== "superseded") view.remark("microphone", describeFailure(error));
    return;
  }
  view.calm("microphone");
  listenAnew();
  await session.setMicrophone(microphone.stream);
}

async function microphoneUnplugged() {
  if (!session) return;
  await session.setMicrophone(null);
  view.remark("microphone", describeFailure(new MicrophoneError("microphone_unplugged")));
  // Another one may be at hand already. If not, `devices` tells when one is.
  await replaceMicrophone();
}

async function replaceMicrophone() {
  if (!session || microphone.stream || view.microphone === NO_MICROPHONE || !(await microphone.list()).length) return;
  await changeMicrophone();
}

async function devicesChanged() {
  view.offerMicrophones(await microphone.list());
  await replaceMicrophone();
}

/** Ask the server what there is, until it says so. */
async function load() {
  for (;;) {
    try {
      const config = await requestJson("api/config");
      document.body.toggleAttribute("data-marked", config.watermark);
      defaultAvatar = config.default_avatar;
      view.offerAvatars(config.avatars, defaultAvatar, new URLSearchParams(location.search).get("avatar"));
      photoDialog.offered = Boolean(config.faces);
      if (config.faces) view.offerPhoto();
      keepDialog.offerSaving(Boolean(config.faces?.save));
      return;
    } catch (error) {
      if (!obstacle) view.remark("server", describeFailure(error));
      await new Promise((resolve) => setTimeout(resolve, CONFIG_RETRY_MS));
      view.calm("server");
    }
  }
}

/** @param {import("../sdk/faces.js").Face} face that was just made */
function showOwn(face) {
  view.offerOwn(face.name);
  view.name(OWN);
  session?.setAvatar(face.name);
  if (face.warnings.length) view.remark("photo", { title: "About your photo", text: face.warnings.map(sentence).join(" ") });
  else view.calm("photo");
}

function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

function removeOwn() {
  session?.setAvatar(defaultAvatar);
  own.forget();
  if (view.namedAvatar === OWN) view.name(defaultAvatar);
  view.offerOwn(null);
  element("own-choose").focus();
}

async function changeAvatar(name) {
  if (name !== OWN) {
    session?.setAvatar(name);
    return;
  }
  try {
    const face = await chosenAvatar();
    if (view.avatar !== OWN) return;
    if (session) session.setAvatar(face);
    else view.name(OWN);
  } catch (error) {
    view.name(view.namedAvatar === OWN ? defaultAvatar : view.namedAvatar);
    view.remark("photo", describeFailure(error));
  }
}

followShape(element("face"));
view.onGo = () => (view.phase === "still" ? start() : stop());
view.onAvatar = changeAvatar;
photoDialog.onFace = showOwn;
keepDialog.onSaved = (avatar) => view.addAvatar(avatar);
element("own-remove").addEventListener("click", removeOwn);
view.onMicrophone = changeMicrophone;
// What is typed shall be heard, and while it is said nothing of the microphone is: no loop through loudspeakers.
sayBox.onSpeaking = (on) => view.hear(on);
view.onMicrophoneSwitch = (on) => {
  microphone.muted = !on;
};
microphone.addEventListener("devices", devicesChanged);
microphone.addEventListener("unplugged", microphoneUnplugged);
// A page that the browser kept and brings back has lost its session: it starts afresh.
addEventListener("pagehide", () => {
  if (session) stop();
  else own.release();
});

const obstacle = findObstacle();
if (obstacle) view.block(describeFailure(obstacle));
else view.offerMicrophones(await microphone.list());
load();
sayBox.load();
