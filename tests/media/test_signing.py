"""Signed films: certificates made for the test, read back by the library's own validation, ExifTool and FFmpeg."""

import datetime
import json
import subprocess
import sys

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webrtc_avatar.errors import CannotWrite, InvalidSettings
from webrtc_avatar.media.marking import SOURCE_TYPE
from webrtc_avatar.media.signing import FilmSigner, film_signer
from webrtc_avatar.render.mp4 import Mp4

NOW = datetime.datetime.now(datetime.UTC)
KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65_537, 2048),
}


def certificate(subject, key, issuer, issuer_key, *, authority):
    """Return a certificate as C2PA's profile wants it, PEM."""
    named = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    usage |= {"digital_signature": not authority, "key_cert_sign": authority, "crl_sign": authority}
    builder = (
        x509.CertificateBuilder(named[1], named[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest).public_bytes(Encoding.PEM)


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def make_signer(folder, kind="P-256"):
    key, root_key = KEYS[kind](), KEYS["P-256"]()
    leaf = certificate("Films", key, "Root", root_key, authority=False)
    (folder / "chain.pem").write_bytes(leaf + certificate("Root", root_key, "Root", root_key, authority=True))
    (folder / "key.pem").write_bytes(pem(key))
    return FilmSigner(folder / "chain.pem", folder / "key.pem")


def make_film(path, signer):
    with Mp4(path, rate_hz=48_000, channels=1, signer=signer) as mp4:
        for _ in range(30):
            mp4.add(np.full((96, 64), 128, np.uint8), np.zeros((1920, 1), np.float32))


def manifest(path):
    with c2pa.Reader(str(path)) as reader:
        return json.loads(reader.json())


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, "film.mp4") for kind in KEYS] + [("P-256", "film.mov"), ("P-256", "film.m4v")]
)
def test_a_signed_film_says_how_it_was_made_and_still_plays_and_is_marked(tmp_path, kind, name):
    path = tmp_path / name
    make_film(path, make_signer(tmp_path, kind))
    said = manifest(path)
    assert said["validation_state"] == "Valid"
    told = said["manifests"][said["active_manifest"]]
    assert told["title"] == name
    assert told["claim_generator_info"][0]["name"] == "webrtc_avatar"
    [actions] = [each["data"]["actions"] for each in told["assertions"] if each["label"].startswith("c2pa.actions")]
    assert [(each["action"], each["digitalSourceType"]) for each in actions] == [("c2pa.created", SOURCE_TYPE)]
    shown = subprocess.run(
        ["exiftool", "-XMP:DigitalSourceType", "-s3", path], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == SOURCE_TYPE
    played = subprocess.run(
        ["ffmpeg", "-v", "warning", "-xerror", "-i", path, "-f", "framemd5", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert played.stderr == ""
    assert sum(line.startswith("0,") for line in played.stdout.splitlines()) == 30
    assert {each.name for each in tmp_path.iterdir()} == {name, "chain.pem", "key.pem"}


def test_a_film_that_was_changed_afterwards_is_not_valid_any_more(tmp_path):
    path = tmp_path / "film.mp4"
    make_film(path, make_signer(tmp_path))
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + 50
    data[place] ^= 1
    path.write_bytes(data)
    assert manifest(path)["validation_state"] == "Invalid"


def test_without_a_certificate_nothing_is_signed():
    assert film_signer(None, None) is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no key", "c2pa_key is not set; signing needs both"),
        ("no certificate", "c2pa_certificate is not set; signing needs both"),
        ("missing", "cannot be read .*check its path"),
        ("no PEM", "is no PEM file"),
        ("passphrase", "without a passphrase"),
        ("other kind", "is of a kind that C2PA does not know"),
        ("another key", "cannot sign"),
        ("an authority", "cannot sign"),
    ],
)
def test_what_cannot_sign_is_said_before_a_film_is_made(tmp_path, fault, words):
    signer = make_signer(tmp_path)
    chain, key = signer.certificate, signer.key
    if fault == "missing":
        chain = tmp_path / "none.pem"
    elif fault == "no PEM":
        chain.write_text("I certify that all is well")
    elif fault == "passphrase":
        key.write_bytes(pem(KEYS["P-256"](), BestAvailableEncryption(b"secret")))
    elif fault == "other kind":
        key.write_bytes(pem(ec.generate_private_key(ec.SECP256K1())))
    elif fault == "another key":
        key.write_bytes(pem(KEYS["P-256"]()))
    elif fault == "an authority":
        own = KEYS["P-256"]()
        chain.write_bytes(certificate("Me", own, "Me", own, authority=True))
        key.write_bytes(pem(own))
    with pytest.raises(InvalidSettings, match=words):
        film_signer(None if fault == "no certificate" else chain, None if fault == "no key" else key)


def test_a_film_that_cannot_be_signed_is_not_there(tmp_path):
    signer = make_signer(tmp_path)
    mp4 = Mp4(tmp_path / "film.mp4", rate_hz=48_000, channels=1, signer=signer)
    mp4.add(np.full((96, 64), 128, np.uint8), np.zeros((1920, 1), np.float32))
    signer.key.write_bytes(pem(KEYS["P-256"]()))
    with pytest.raises(CannotWrite, match=r"film\.mp4 cannot be signed"):
        mp4.finish()
    assert {each.name for each in tmp_path.iterdir()} == {"chain.pem", "key.pem"}


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'webrtc-avatar\[c2pa\]'"):
        make_signer(tmp_path).check()
