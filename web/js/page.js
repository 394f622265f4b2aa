// The main page: choose, start, speak, stop.

import { AvatarSession } from "../sdk/avatar.js";
import { requestJson } from "../sdk/signalling.js";
import { describeFailure, findObstacle } from "./failures.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { followShape, keepScreenOn } from "./playback.js";
import { element, View } from "./view.js";
import { VoiceStrip } from "./voice_strip.js";

const CONFIG_RETRY_MS = 3_000;
/** A microphone that is silent for so long after the start deserves a word. */
const SILENT_MS = 10_000;
const HEARD_LEVEL = 0.12;

const view = new View();
const microphone = new Microphone();
const strip = new VoiceStrip(element("voice"), () => listen());

/** @type {AvatarSession | null} */
let session = null;
/** Rises with every start and stop: what was asked for under another number is no longer wanted. */
let turn = 0;
let silentSinceMs = 0;
let everHeard = false;
let letScreenSleep = () => {};

async function start() {
  const mine = ++turn;
  view.enter("asking");
  try {
    await microphone.open(view.microphone);
  } catch (error) {
    if (mine === turn) fail(error);
    return;
  }
  listenAnew();
  strip.start();
  letScreenSleep = keepScreenOn();
  session = join();
}

function stop() {
  turn++;
  session?.close();
  session = null;
  microphone.close();
  strip.stop();
  letScreenSleep();
  view.enter("still");
}

/** End in words. */
function fail(error) {
  stop();
  view.warn(describeFailure(error));
}

function join() {
  const made = new AvatarSession();
  const on = (type, handle) => made.addEventListener(type, ({ detail }) => made === session && handle(detail));
  on("state", ({ state, error, retryInMs }) => {
    if (state === "connecting") view.enter("connecting");
    if (state === "connected") view.enter("live", { sessionId: made.sessionId });
    if (state === "waiting") view.enter("waiting", { words: describeFailure(error), retryInMs });
    if (state === "failed") fail(error);
  });
  on("media", ({ stream }) => view.show(stream));
  on("mood", ({ mood }) => view.feel(mood));
  on("figures", () => view.count(made.stats));
  on("avatar", ({ name }) => view.name(name));
  on("refused", (error) => {
    view.name(view.namedAvatar);
    view.warn(describeFailure(error));
  });
  // Every outcome also comes as a `state`, which is where it is shown. The events need `session`, hence a task of its own.
  queueMicrotask(() => made.connect({ avatar: view.avatar, microphoneStream: microphone.stream }).catch(() => {}));
  return made;
}

/** Read the level for the meter, and notice a microphone that gives nothing. */
function listen() {
  const level = microphone.level();
  const nowMs = performance.now();
  if (level > HEARD_LEVEL || microphone.muted || view.phase !== "live") {
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
  if (!session || microphone.stream || !(await microphone.list()).length) return;
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
      view.offerAvatars(config.avatars, config.default_avatar, new URLSearchParams(location.search).get("avatar"));
      return;
    } catch (error) {
      if (!obstacle) view.remark("server", describeFailure(error));
      await new Promise((resolve) => setTimeout(resolve, CONFIG_RETRY_MS));
      view.calm("server");
    }
  }
}

followShape(element("face"));
view.onGo = () => (view.phase === "still" ? start() : stop());
view.onAvatar = (name) => session?.setAvatar(name);
view.onMicrophone = changeMicrophone;
view.onMicrophoneSwitch = (on) => {
  microphone.muted = !on;
};
microphone.addEventListener("devices", devicesChanged);
microphone.addEventListener("unplugged", microphoneUnplugged);
// A page that the browser kept and brings back has lost its session: it starts afresh.
addEventListener("pagehide", () => session && stop());

const obstacle = findObstacle();
if (obstacle) view.block(describeFailure(obstacle));
else view.offerMicrophones(await microphone.list());
load();
