// The display: shows a session for ever. While there is none to show, an avatar of its own rests in its place.

import { requestJson } from "../sdk/signalling.js";
import { IdleViewer, WhepViewer } from "../sdk/whep.js";
import { followShape, keepScreenOn, playAloud } from "./playback.js";

const HINTS = {
  unknown_session: "Waiting for the conversation to begin",
  session_closed: "Waiting for the conversation to begin",
  server_full: "All places are taken. Waiting for one",
  server_draining: "The server restarts",
  unknown_avatar: "This avatar is not installed on the server",
  no_webrtc: "This browser has no WebRTC, and cannot show the avatar",
};
const HINT_OTHERWISE = "Connecting";

/** As long as the style sheet takes from one picture to the other. */
const FADE_MS = 1_300;

const query = new URLSearchParams(location.search);
const named = query.get("session");
let avatar = query.get("avatar");

/** A viewer that may come and go, with the video that shows it. */
class Screen {
  #video;
  /** @type {WhepViewer | null} */
  #viewer = null;
  /** @type {{code: string} | null} why there is no picture */
  error = null;
  onConnected = () => {};

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
    video.addEventListener("loadeddata", show);
    followShape(video);
  }

  get open() {
    return this.#viewer !== null;
  }

  /** Whether there is a picture that moves. */
  get bright() {
    return this.#viewer?.state === "connected" && this.#video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }

  /**
   * @param {WhepViewer} viewer
   * @param {(viewer: WhepViewer) => Promise<void>} begin
   */
  turnOn(viewer, begin) {
    this.#viewer = viewer;
    viewer.addEventListener("media", ({ detail }) => {
      if (this.#video.srcObject === detail.stream) return;
      this.#video.srcObject = detail.stream;
      playAloud(this.#video, (blocked) => {
        document.getElementById("sound").hidden = !blocked;
      });
    });
    viewer.addEventListener("state", ({ detail }) => {
      this.error = detail.error ?? (detail.state === "connected" ? null : this.error);
      if (detail.state === "connected") this.onConnected();
      if (detail.state === "waiting") this.#video.srcObject = null;
      show();
    });
    // Every outcome also comes as a `state`.
    begin(viewer).catch(() => {});
  }

  turnOff() {
    this.#viewer?.close();
    this.#viewer = null;
    this.#video.srcObject = null;
  }
}

/** Bring the screens, the dimming and the hint in line with what there is to see. */
function show() {
  if (live.bright) {
    face("live", "");
    if (idle.open) setTimeout(() => live.bright && idle.turnOff(), FADE_MS);
    return;
  }
  // Resting takes a place on the server: not before the session that was asked for has turned out to be away.
  if (named !== null && live.error && !idle.open) idle.turnOn(new IdleViewer(), (viewer) => viewer.rest(avatar));
  face("dim", hintOf(live.error));
}

function face(view, hint) {
  document.body.dataset.view = view;
  const line = document.getElementById("hint");
  if (line.textContent !== hint) line.textContent = hint;
}

function hintOf(error) {
  return error ? (HINTS[error.code] ?? HINT_OTHERWISE) : HINT_OTHERWISE;
}

/** Rest later with the face that is seen now, and until then with its still picture. */
async function rememberAvatar() {
  const facts = named && (await requestJson(`api/sessions/${encodeURIComponent(named)}`).catch(() => null));
  const config = await requestJson("api/config").catch(() => null);
  if (config) document.body.toggleAttribute("data-marked", config.watermark);
  // A visitor's own face is in no list, and is gone with its session.
  if (config?.avatars.some(({ name }) => name === facts?.avatar)) avatar = facts.avatar;
  const name = avatar ?? config?.default_avatar;
  if (name) document.getElementById("idle").poster = `api/avatars/${encodeURIComponent(name)}/poster`;
}

const live = new Screen(document.getElementById("live"));
const idle = new Screen(document.getElementById("idle"));

if (typeof RTCPeerConnection === "undefined") {
  face("dim", HINTS.no_webrtc);
} else if (named === null) {
  live.turnOn(new IdleViewer(), (viewer) => viewer.rest(avatar));
} else {
  live.turnOn(new WhepViewer(), (viewer) => viewer.watch(named));
}
live.onConnected = rememberAvatar;
rememberAvatar();
keepScreenOn();
// Kept by the browser and brought back: the viewers were closed on the way out.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
