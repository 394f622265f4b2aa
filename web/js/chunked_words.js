// What can go wrong with a photo and its film, in words for the person at the page; the rest is in failures.js.

import { describeFailure } from "./failures.js";

/** @type {Record<string, {title: string, text: string}>} */
const WORDS = {
  no_face_found: {
    title: "No face found in this photo",
    text:
      "Choose one in which a face looks into the camera, well lit, uncovered, and larger. If the picture is a drawing or an animal, switch off " +
      "“Find the face” under Options: then its middle is taken for the face.",
  },
  too_large: {
    title: "The file is too large",
    text: "Choose a smaller photo, or a shorter recording.",
  },
  server_full: {
    title: "All places are taken",
    text: "Others make films right now. Try again in a minute.",
  },
  unreadable_sound: {
    title: "There is no sound in this file",
    text: "Neither this browser nor the server can decode it. Choose a WAV, MP3, M4A, Ogg or a video with sound.",
  },
  unknown_session: {
    title: "The film is gone",
    text: "The server ended it, because it was restarted or nobody watched. Start again.",
  },
  unreachable: {
    title: "The server does not answer",
    text: "Check your network, and that the server runs. Then start again.",
  },
};

/**
 * @param {{code?: string, message?: string}} error
 * @returns {{title: string, text: string}}
 */
export function describe(error) {
  return WORDS[error.code] ?? describeFailure(error);
}

/** The server's names for how far a session is, in words. */
export const STATES = { waiting_for_audio: "listens", processing: "speaks", complete: "complete", error: "broken off" };
