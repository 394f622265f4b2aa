// A visitor's own face: a photo becomes an avatar that only who knows its name can use, and that goes with its session.
//
//   const face = await uploadFace(input.files[0], { onProgress: (share) => { bar.value = share; } });
//   await session.connect({ avatar: face.name, microphoneStream });

import { AvatarError, refusal, request, requestJson } from "./signalling.js";

export { AvatarError };

/** The server gives a form a minute to arrive; making the face takes it a second more. */
const UPLOAD_TIMEOUT_MS = 75_000;

/**
 * @typedef {object} Face
 * @property {string} name a secret: who knows it can use, keep and remove the face
 * @property {string} shown_as what sessions' events and figures call it
 * @property {string[]} warnings what its owner should know
 * @property {boolean} in_use whether a session shows it
 * @property {number | null} expires_in_s when it goes unless a session shows it
 */

/**
 * @param {Blob} photo JPEG, PNG or WebP
 * @param {{url?: URL | string, crop?: boolean, signal?: AbortSignal, onProgress?: (share: number) => void}} [options]
 *   `crop` = false takes the middle of a picture for a face where none is found; `onProgress` hears how much is sent, 0 to 1
 * @returns {Promise<Face>}
 * @throws {AvatarError} such as `no_face_found`, `face_turned_away`, `too_large`; and the signal's reason where it was given up
 */
export function uploadFace(photo, { url = document.baseURI, crop = true, signal, onProgress = () => {} } = {}) {
  const form = new FormData();
  form.append("image", photo, "photo");
  form.append("crop", String(crop));
  // fetch does not tell how much of a body is sent.
  const call = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    const unreachable = () => {
      reject(new AvatarError("unreachable", "The photo did not reach the server. Check your network, and that the server runs."));
    };
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => {
      call.abort();
      reject(signal.reason);
    });
    call.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 1));
    call.addEventListener("error", unreachable);
    call.addEventListener("timeout", unreachable);
    call.addEventListener("load", () => answered(call).then(resolve, reject));
    call.open("POST", new URL("api/faces", url));
    call.timeout = UPLOAD_TIMEOUT_MS;
    call.send(form);
  });
}

/** @returns {Promise<Face | null>} null once it is gone */
export async function findFace(name, { url = document.baseURI } = {}) {
  try {
    return await requestJson(placeOf(name, url));
  } catch (error) {
    if (error.code === "unknown_avatar") return null;
    throw error;
  }
}

/** Remove a face at once; one that is gone already is no error. Outlives the page that asks. */
export async function removeFace(name, { url = document.baseURI } = {}) {
  await request(placeOf(name, url), { method: "DELETE", keepalive: true }).catch((error) => {
    if (error.code !== "unknown_avatar") throw error;
  });
}

/** @returns {URL} where its package is to be had, as a ZIP; `as` is what the avatar will be called: a-z 0-9 _ - */
export function packageUrl(name, { as = "me", url = document.baseURI } = {}) {
  const place = new URL(`${placeOf(name, url)}/package`);
  place.searchParams.set("name", as);
  return place;
}

/**
 * Make it an avatar of the server for everybody; `forbidden` unless the operator allows that.
 *
 * @returns {Promise<{name: string, title: string}>}
 */
export function saveFace(name, { as = "me", title = as, url = document.baseURI } = {}) {
  return requestJson(`${placeOf(name, url)}/save`, { method: "POST", json: { name: as, title } });
}

function placeOf(name, url) {
  return new URL(`api/faces/${encodeURIComponent(name)}`, url);
}

async function answered(call) {
  const retryAfter = call.getResponseHeader("Retry-After");
  const response = new Response(call.responseText, {
    status: call.status,
    headers: { "Content-Type": "application/json", ...(retryAfter ? { "Retry-After": retryAfter } : {}) },
  });
  if (!response.ok) throw await refusal(response);
  return response.json();
}
