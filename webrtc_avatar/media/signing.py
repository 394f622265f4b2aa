"""Signs films: a C2PA manifest that says how they were made, bound to their bytes by a certificate. Needs the extra `c2pa`.

The manifest says `c2pa.created` with the same IPTC term as the marking. Whoever changes the film afterwards breaks the signature; whoever
removes the manifest leaves an unsigned film. Source: C2PA Technical Specification 2, actions and digital signatures.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np

from webrtc_avatar import __version__
from webrtc_avatar.errors import CannotWrite, InvalidSettings
from webrtc_avatar.media.marking import SOURCE_TYPE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_MOST_PEM_BYTES = 1024 * 1024
_KINDS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class FilmSigner:
    """A certificate and its key. For any thread.

    Attributes:
        certificate: PEM file, the signer's certificate first, then those up to the authority.
        key: PEM file with its private key, without a passphrase.
    """

    certificate: Path
    key: Path

    def check(self) -> None:
        """Sign a picture of one pixel, so that what is wrong is said before a film is made.

        Raises:
            InvalidSettings: the extra is not installed, or certificate and key cannot sign.
        """
        pixel = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
        c2pa = _library()
        try:
            self._sign(c2pa, "image/jpeg", "check", io.BytesIO(pixel), io.BytesIO())
        except c2pa.C2paError as error:
            raise InvalidSettings(
                f"c2pa_certificate {str(self.certificate)!r} and c2pa_key {str(self.key)!r} cannot sign ({error!s:.300}); they are a "
                "certificate that C2PA accepts, with its chain, and the key that belongs to it"
            ) from error

    def sign(self, film: Path, signed: Path, *, name: str) -> None:
        """Write a signed copy of a film.

        Args:
            film: whole, MP4 or QuickTime.
            signed: where the copy goes; replaced.
            name: the film's, which the manifest tells, ending as films do.

        Raises:
            CannotWrite: it cannot be signed; `signed` is of no use then.
            InvalidSettings: see `check`.
        """
        c2pa = _library()
        try:
            with film.open("rb") as source, signed.open("w+b") as target:
                self._sign(c2pa, _KINDS[Path(name).suffix.lower()], name, source, target)
        except c2pa.C2paError as error:
            raise CannotWrite(
                f"{name} cannot be signed ({error!s:.300}); make room on the disk and try again"
            ) from error

    def _sign(self, c2pa: Any, kind: str, name: str, source: BinaryIO, target: BinaryIO) -> None:
        certificates, key = _read(self.certificate, "c2pa_certificate"), _read(self.key, "c2pa_key")
        action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        manifest = {
            "claim_generator_info": [{"name": "webrtc_avatar", "version": __version__}],
            "title": name,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        algorithm = getattr(c2pa.C2paSigningAlg, _algorithm(key, self.key))
        info = c2pa.C2paSignerInfo(algorithm, certificates, key, None)
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
            builder.sign(signer, kind, source, target)


def film_signer(certificate: Path | None, key: Path | None) -> FilmSigner | None:
    """Return what signs films as the settings say, checked; None where they name no certificate.

    Raises:
        InvalidSettings: one of the two is missing; and see `FilmSigner.check`.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "c2pa_key" if key is None else "c2pa_certificate"
        raise InvalidSettings(f"{missing} is not set; signing needs both c2pa_certificate and c2pa_key")
    signer = FilmSigner(certificate, key)
    signer.check()
    return signer


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise InvalidSettings(
            "c2pa_certificate is set, but what signs films is not installed: pip install 'webrtc-avatar[c2pa]'"
        ) from error
    return c2pa


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_PEM_BYTES)
    except OSError as error:
        raise InvalidSettings(
            f"{setting} {str(path)!r} cannot be read ({error.strerror or error}); check its path"
        ) from error
    if b"-----BEGIN " not in data or b"\0" in data:
        raise InvalidSettings(f"{setting} {str(path)!r} is no PEM file; expected -----BEGIN … -----")
    return data


def _algorithm(pem: bytes, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    wanted = "expected a private key for ECDSA (P-256, P-384, P-521), Ed25519 or RSA, without a passphrase"
    try:
        key: PrivateKeyTypes = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise InvalidSettings(f"c2pa_key {str(path)!r} cannot be used ({error!s:.120}); {wanted}") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    raise InvalidSettings(f"c2pa_key {str(path)!r} is of a kind that C2PA does not know; {wanted}")
