// A film that is whole, as one file: its header and segments one after the other are a fragmented MP4.

import { parsePlaylist } from "../sdk/hls_playlist.js";
import { request } from "../sdk/signalling.js";

/**
 * Let the browser save a film.
 *
 * @param {string} url of its playlist
 */
export async function saveFilm(url) {
  const { init, segments } = parsePlaylist(await (await request(url)).text(), url);
  const pieces = [];
  for (const uri of [init, ...segments.map((segment) => segment.uri)]) pieces.push(await (await request(uri)).blob());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(pieces, { type: "video/mp4" }));
  link.download = "film.mp4";
  link.click();
  URL.revokeObjectURL(link.href);
}
