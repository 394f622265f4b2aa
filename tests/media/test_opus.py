"""Opus packets: durations, mono from anything, and gaps that do not click."""

import numpy as np
import pytest

from tests.media.peers import lag_and_match, speech
from webrtc_avatar.media.opus import Concealer, OpusDecoder, OpusEncoder, packet_samples


@pytest.mark.parametrize(("bitrate_bps", "likeness"), [(16_000, 0.8), (48_000, 0.95)])
def test_speech_survives_encoding_and_decoding(speech_wav, bitrate_bps, likeness):
    said = speech(speech_wav)
    encoder, decoder = OpusEncoder(bitrate_bps), OpusDecoder()
    packets = [encoder.encode(said[n : n + 960]) for n in range(0, len(said), 960)]
    assert all(packet_samples(packet) == 960 for packet in packets)
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    assert len(heard) == len(said)
    lag, match = lag_and_match(heard, said)
    assert lag <= 312
    assert match > likeness
    assert sum(map(len, packets)) * 8 / (len(said) / 48_000) == pytest.approx(bitrate_bps, rel=0.3)


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff\xff", b"\x0b\xff" + b"x" * 50, bytes(range(200))])
def test_what_is_not_opus_is_counted_and_never_raises(payload):
    decoder = OpusDecoder()
    sound = decoder.decode(payload)
    assert sound is None or sound.dtype == np.int16
    assert decoder.errors == (sound is None)
    silence = OpusEncoder(48_000).encode(np.zeros(960, np.int16))
    assert decoder.decode(silence).shape == (960,)


@pytest.mark.parametrize(
    ("payload", "samples"),
    [(b"\x00", 480), (b"\x18", 2880), (b"\x78", 960), (b"\x79", 1920), (b"\xfb\x03", 2880), (b"\xe0", 120), (b"", 0)],
)
def test_the_duration_of_a_packet_is_read_from_its_first_bytes(payload, samples):
    assert packet_samples(payload) == samples


def test_a_short_gap_fades_from_the_last_sound_and_a_long_one_ends_in_silence():
    concealer = Concealer()
    assert not concealer.fill(960).any()
    last = np.rint(8000 * np.sin(np.arange(960) * 0.05)).astype(np.int16)
    concealer.heard(last)
    filled = np.concatenate([concealer.fill(960) for _ in range(5)])
    assert filled[0] == last[-1]
    energy = (filled.reshape(5, 960).astype(float) ** 2).mean(axis=1)
    assert energy[0] > energy[1] > energy[2] > 0
    assert not filled[3 * 960 :].any()
    steps = np.abs(np.diff(np.concatenate((last, filled)).astype(int)))
    assert steps.max() <= 2 * 8000 * 0.05


def test_many_short_packets_are_remembered_together():
    concealer = Concealer()
    sound = np.arange(1, 961, dtype=np.int16)
    for n in range(0, 960, 120):
        concealer.heard(sound[n : n + 120])
    assert concealer.fill(1)[0] == 960
