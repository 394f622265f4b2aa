// What a fragmented MP4's header says of its codecs, as Media Source Extensions want it told (RFC 6381, ISO/IEC 14496-12 and -15).

/** Boxes that hold boxes, and how many bytes of their own come before those. */
const HOLDERS = { moov: 0, trak: 0, mdia: 0, minf: 0, stbl: 0, stsd: 8, avc1: 78, avc3: 78, mp4a: 28 };

/**
 * @param {ArrayBuffer} header `ftyp` and `moov`
 * @returns {string} such as `video/mp4; codecs="avc1.64001f,mp4a.40.2"`
 * @throws {SyntaxError} there is neither H.264 nor AAC in it
 */
export function mimeType(header) {
  const codecs = [...codecsIn(new DataView(header), 0, header.byteLength)];
  if (!codecs.length) throw new SyntaxError("the film's header names neither H.264 nor AAC");
  return `video/mp4; codecs="${codecs.join(",")}"`;
}

function* codecsIn(view, begin, end, within = "") {
  for (let at = begin; at + 8 <= end; ) {
    const size = view.getUint32(at);
    const type = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + 4, 4));
    if (size < 8 || at + size > end) throw new SyntaxError(`the film's header is damaged: its box ${type} has ${size} bytes`);
    const content = at + 8;
    if (type in HOLDERS) yield* codecsIn(view, content + HOLDERS[type], at + size, type);
    else if (type === "avcC") yield `${within}.${[1, 2, 3].map((n) => hex(view.getUint8(content + n))).join("")}`;
    else if (type === "esds") yield `mp4a.${audioObject(view, content + 4, at + size)}`;
    at += size;
  }
}

/** Of the descriptors in an `esds` box (ISO/IEC 14496-1): object type, and for MPEG-4 the audio object type. */
function audioObject(view, begin, end) {
  let object = 0;
  for (let at = begin; at < end; ) {
    const tag = view.getUint8(at++);
    let length = 0;
    let byte;
    do {
      byte = view.getUint8(at++);
      length = (length << 7) | (byte & 0x7f);
    } while (byte & 0x80);
    if (tag === 0x03) at += 3; // the elementary stream's number and flags; descriptors follow inside it
    else if (tag === 0x04) {
      object = view.getUint8(at);
      at += 13;
    } else if (tag === 0x05) return `${object.toString(16)}.${view.getUint8(at) >> 3}`;
    else at += length;
  }
  return object.toString(16);
}

const hex = (byte) => byte.toString(16).padStart(2, "0");
