// What a media playlist lists (RFC 8216 and its successor draft), as far as a stream of fragmented MP4 needs it.

/** @typedef {{uri: string, durationS: number}} Part */
/**
 * @typedef {{number: number, uri: string | null, beginS: number, durationS: number, parts: Part[]}} Segment
 * `uri` is null of the one that is still being written; `beginS` counts from the first segment in the list.
 */
/**
 * @typedef {{segments: Segment[], init: string | null, targetS: number, partTargetS: number | null, canBlock: boolean,
 *   ended: boolean}} Playlist
 */

const ATTRIBUTE = /([A-Z0-9-]+)=("[^"]*"|[^,]*)/g;

/**
 * @param {string} text
 * @param {string | URL} url its own address, for the addresses in it
 * @returns {Playlist}
 * @throws {SyntaxError} it is no playlist
 */
export function parsePlaylist(text, url) {
  const lines = text.split(/\r?\n/).filter(Boolean);
  if (lines[0] !== "#EXTM3U") throw new SyntaxError("the answer is no HLS playlist: it does not begin with #EXTM3U");
  /** @type {Playlist} */
  const playlist = { segments: [], init: null, targetS: 2, partTargetS: null, canBlock: false, ended: false };
  const absolute = (uri) => new URL(uri, url).href;
  let first = 0;
  let parts = [];
  let durationS = 0;
  let beginS = 0;
  const add = (uri, lastsS) => {
    playlist.segments.push({ number: first + playlist.segments.length, uri, beginS, durationS: lastsS, parts });
    beginS += lastsS;
    parts = [];
  };
  for (const line of lines) {
    const [tag, value] = split(line);
    if (!line.startsWith("#")) add(absolute(line), durationS);
    else if (tag === "#EXTINF") durationS = Number.parseFloat(value);
    else if (tag === "#EXT-X-MEDIA-SEQUENCE") first = Number.parseInt(value, 10);
    else if (tag === "#EXT-X-TARGETDURATION") playlist.targetS = Number.parseInt(value, 10);
    else if (tag === "#EXT-X-ENDLIST") playlist.ended = true;
    else if (tag === "#EXT-X-MAP") playlist.init = absolute(attributes(value).URI);
    else if (tag === "#EXT-X-PART-INF") playlist.partTargetS = Number.parseFloat(attributes(value)["PART-TARGET"]);
    else if (tag === "#EXT-X-SERVER-CONTROL") playlist.canBlock = attributes(value)["CAN-BLOCK-RELOAD"] === "YES";
    else if (tag === "#EXT-X-PART") {
      const { URI, DURATION } = attributes(value);
      parts.push({ uri: absolute(URI), durationS: Number.parseFloat(DURATION) });
    }
  }
  if (parts.length) add(null, parts.reduce((sum, part) => sum + part.durationS, 0));
  return playlist;
}

function split(line) {
  const colon = line.indexOf(":");
  return colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1)];
}

/** @returns {Record<string, string>} an attribute list (RFC 8216 4.2), without quotation marks */
function attributes(text) {
  return Object.fromEntries([...text.matchAll(ATTRIBUTE)].map(([, name, value]) => [name, value.replace(/^"|"$/g, "")]));
}
