"""Says in files, for machines to read, that what they show is synthetic.

An XMP packet carries IPTC's `DigitalSourceType`, as news agencies, platforms and search engines look for it, and names the tool and the
avatar; MP4 has plain tags besides, which players show. It is a statement, not a protection: whoever copies the pixels leaves it behind.
There is no date in it, so that equal films are equal files.

Sources: IPTC Photo Metadata Standard (Iptc4xmpExt), IPTC NewsCodes "Digital Source Type"; XMP Specification Part 3 (JPEG 1.1.3, PNG 1.1.5,
MPEG-4 1.2.7.1, QuickTime 1.2.7.2); WebP Container Specification.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from xml.sax.saxutils import escape

from webrtc_avatar import __version__

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""Pictures that were captured or rendered, in which trained networks draw: what an avatar is. The films' sound may be a recording."""

TOOL = f"webrtc_avatar {__version__}"

_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JPEG, _PNG, _WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
_PNG_HEADER_END = 33
_WEBP_HAS_XMP, _WEBP_HAS_ALPHA = 0x04, 0x10


@dataclass(frozen=True)
class Marking:
    """What the files of one avatar say of themselves.

    Attributes:
        avatar: its name, for whoever finds the file; none: it is not said.
    """

    avatar: str | None = None

    @property
    def text(self) -> str:
        """The statement for people."""
        who = f", avatar {self.avatar}" if self.avatar else ""
        return f"Synthetic media: an AI-generated talking face ({TOOL}{who})"

    @property
    def tags(self) -> dict[str, str]:
        """FFmpeg's names of an MP4's plain tags, and what they say."""
        return {"comment": self.text, "keywords": "synthetic media, AI-generated", "encoding_tool": TOOL}

    @cached_property
    def xmp(self) -> bytes:
        """The XMP packet, UTF-8, without room for changes."""
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
            ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
            f"<xmp:CreatorTool>{escape(TOOL)}</xmp:CreatorTool>"
            f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
            f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(self.text)}</rdf:li></rdf:Alt></dc:description>'
            '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()

    @cached_property
    def mp4_box(self) -> bytes:
        """The box that belongs behind an MP4's last one, or behind the `moov` of a fragmented one's header: no offset points past it."""
        return struct.pack(">I4s", 24 + len(self.xmp), b"uuid") + _UUID + self.xmp

    def in_image(self, data: bytes) -> bytes:
        """Return a whole JPEG, PNG or WebP file with the packet in it; anything else comes back as it is."""
        if data.startswith(_JPEG):
            return self._in_jpeg(data)
        if data.startswith(_PNG):
            return self._in_png(data)
        if data.startswith(_WEBP) and data[8:12] == b"WEBP":
            return self._in_webp(data)
        return data

    def _in_jpeg(self, data: bytes) -> bytes:
        """JFIF wants its own segment (APP0) first."""
        place = 2
        if data[2:4] == b"\xff\xe0":
            place = 4 + int.from_bytes(data[4:6], "big")
        content = _JPEG_XMP + self.xmp
        return data[:place] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + data[place:]

    def _in_png(self, data: bytes) -> bytes:
        chunk = b"iTXt" + _PNG_XMP + self.xmp
        length, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
        return data[:_PNG_HEADER_END] + length + chunk + check + data[_PNG_HEADER_END:]

    def _in_webp(self, data: bytes) -> bytes:
        """A picture alone gets the header of the extended format, which says that there is a packet."""
        chunks = data[12:]
        if chunks[:4] == b"VP8X":
            chunks = chunks[:8] + bytes([chunks[8] | _WEBP_HAS_XMP]) + chunks[9:]
        else:
            width, height, alpha = _webp_size(chunks)
            flags = _WEBP_HAS_XMP | (_WEBP_HAS_ALPHA if alpha else 0)
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            chunks = struct.pack("<4sII", b"VP8X", 10, flags) + size + chunks
        chunks += struct.pack("<4sI", b"XMP ", len(self.xmp)) + self.xmp + b"\0" * (len(self.xmp) % 2)
        return struct.pack("<4sI4s", _WEBP, 4 + len(chunks), b"WEBP") + chunks


OF_NOBODY = Marking()
"""For files whose avatar has no name that means something to others."""


def _webp_size(chunks: bytes) -> tuple[int, int, bool]:
    """Return width, height and whether there is alpha, of a file's one chunk: lossy (VP8, RFC 6386 9.1) or lossless (VP8L)."""
    if chunks[:4] == b"VP8L":
        (bits,) = struct.unpack_from("<I", chunks, 9)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", chunks, 14)
    return width & 0x3FFF, height & 0x3FFF, False
