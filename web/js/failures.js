// What can go wrong, in words for the person at the page: what happened, and what to do about it.

/** @type {Record<string, {title: string, text: string}>} */
const WORDS = {
  no_webrtc: {
    title: "This browser cannot make calls",
    text: "It has no WebRTC. Open this page in a current Firefox, Chrome, Edge or Safari.",
  },
  insecure: {
    title: "The browser hides the microphone here",
    text: "It does so on plain http from another computer. Open this page by https, or on the server's own computer as http://localhost.",
  },
  microphone_none: {
    title: "No microphone found",
    text: "Plug one in, or connect a headset, and press Start again.",
  },
  microphone_denied: {
    title: "The microphone is blocked",
    text: "Allow it for this page: open the symbol left of the address, let it use the microphone, and press Start again.",
  },
  microphone_withheld: {
    title: "Your system withholds the microphone",
    text: "Allow it for this browser in the system's privacy settings, and press Start again.",
  },
  microphone_dismissed: {
    title: "The microphone was not allowed",
    text: "Press Start again, and choose Allow when the browser asks.",
  },
  microphone_busy: {
    title: "The microphone is in use",
    text: "Another program holds it, perhaps a call. Close that one or choose another microphone, and press Start again.",
  },
  microphone_unplugged: {
    title: "The microphone is gone",
    text: "The avatar stays and waits. Plug one in, or choose another one above.",
  },
  microphone_silent: {
    title: "Nothing to hear yet",
    text: "This microphone gives no sound. Speak up, choose another one above, or look whether it is muted.",
  },
  server_full: {
    title: "All places are taken",
    text: "Others are talking to the avatar right now. You are let in as soon as somebody leaves.",
  },
  server_draining: {
    title: "The server is about to restart",
    text: "It takes nobody new until then. Stay here: this page joins by itself.",
  },
  unreachable: {
    title: "The server does not answer",
    text: "Check your network, and that the server runs. This page keeps trying.",
  },
  not_a_server: {
    title: "There is no avatar server at this address",
    text: "Open the page from the address that the server names when it starts.",
  },
  no_media_path: {
    title: "Sound and picture find no way",
    text: "The server answers, but a firewall seems to block UDP between you. Try another network, or ask for a TURN server.",
  },
  connection_lost: {
    title: "Connection lost",
    text: "You need not do anything: this page reconnects by itself.",
  },
  session_ended: {
    title: "The server ended the session",
    text: "You need not do anything: this page joins again by itself.",
  },
  no_face_found: {
    title: "No face found in this photo",
    text: "Choose one in which a face looks into the camera, well lit, uncovered, and not too small.",
  },
  face_turned_away: {
    title: "The face is seen from the side",
    text: "Choose a photo in which it looks into the camera.",
  },
  not_a_photo: {
    title: "This file is no picture",
    text: "This browser cannot read it. Choose a JPEG, PNG or WebP file.",
  },
  too_large: {
    title: "The photo is too large",
    text: "Choose a smaller one.",
  },
  portrait_unavailable: {
    title: "This server cannot animate photos",
    text: "What finds faces is not installed there: pip install 'webrtc-avatar[portrait]' on the server brings it.",
  },
  too_many_requests: {
    title: "Too many photos in a short time",
    text: "Wait a minute, and try again.",
  },
  unknown_avatar: {
    title: "This avatar is not installed here",
    text: "Choose another one, and press Start.",
  },
};

/**
 * @param {{code?: string, message?: string}} error
 * @returns {{title: string, text: string}}
 */
export function describeFailure(error) {
  return WORDS[error.code] ?? { title: "That did not work", text: error.message ?? "The reason is unknown. Try once more." };
}

/** @returns {{code: string} | null} what keeps this browser, on this address, from working at all */
export function findObstacle() {
  if (typeof RTCPeerConnection === "undefined") return { code: "no_webrtc" };
  if (!isSecureContext) return { code: "insecure" };
  if (!navigator.mediaDevices?.getUserMedia) return { code: "no_webrtc" };
  return null;
}
