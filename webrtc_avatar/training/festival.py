"""Speech with phone times from Festival and its Debian voices, one process for many sentences of a voice.

The Scheme script that it runs changes pitch and speed after Festival's own analysis, so that both work with every voice
that is made of diphones. Voices of HTS models keep their pitch, the one of whole units (Russian) its speed as well.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import MissingProgram
from webrtc_avatar.speech.phonemes import Phoneme

_TIMEOUT_S = 900

# A Target's f0 is what the waveform follows; a Segment's end is in seconds.
_SETUP = """
(define (avatar_scale utt)
  (mapcar (lambda (segment) (item.set_feat segment 'end (* avatar_slower (item.feat segment 'end))))
          (utt.relation.items utt 'Segment))
  (if (utt.relation.present utt 'Target)
      (mapcar (lambda (target)
                (item.set_feat target 'pos (* avatar_slower (item.feat target 'pos)))
                (item.set_feat target 'f0 (* avatar_higher (item.feat target 'f0))))
              (utt.relation.leafs utt 'Target)))
  utt)
(define (avatar_say text slower semitones stem)
  (set! avatar_slower slower)
  (set! avatar_higher (pow 2 (/ semitones 12)))
  (if (string-equal (Param.get 'Synth_Method) "HTS")
      (begin (set! avatar_slower 1)
             (set! hts_engine_params (append avatar_hts_params (list (list "-r" (/ 1 slower)))))))
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt (string-append stem ".wav") 'riff)
    (utt.save.segs utt (string-append stem ".lab"))))
(set! avatar_hts_params (if (symbol-bound? 'hts_engine_params) hts_engine_params nil))
(set! czech-randomize nil)
(set! after_analysis_hooks
      (append (if (and after_analysis_hooks (not (consp after_analysis_hooks)))
                  (list after_analysis_hooks) after_analysis_hooks)
              (list avatar_scale)))
"""


class Line(NamedTuple):
    """What to say and how.

    Attributes:
        text: in the voice's language.
        slower: factor on all durations, 0.5 to 2.
        semitones: added to the pitch, -12 to 12.
    """

    text: str
    slower: float = 1.0
    semitones: float = 0.0


Spoken = tuple[npt.NDArray[Any], int, list[Phoneme]]


def speak_lines(voice: str, lines: Sequence[Line], *, package: str, encoding: str = "utf-8") -> list[Spoken | None]:
    """Return (int16 samples, rate in Hz, phones) of each line; none for a line that the voice cannot read.

    Args:
        voice: Festival's name for it, as `kal_diphone`.
        lines: what it says.
        package: the Debian package that has the voice, named where it is missing.
        encoding: of the text that the voice expects.

    Raises:
        MissingProgram: Festival or the voice is not installed.
    """
    program = shutil.which("festival")
    if program is None:
        raise MissingProgram("festival", package=f"festival {package}")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "say.scm"
        said = [
            f'(unwind-protect (avatar_say "{_quoted(line.text)}" {line.slower:.4f} {line.semitones:.3f} '
            f'"{folder}/{number}") nil)'
            for number, line in enumerate(lines)
        ]
        text = "\n".join([f"(voice_{voice})", _SETUP, *said, ""])
        script.write_bytes(text.encode(encoding, "ignore"))
        result = subprocess.run(
            [program, "--batch", str(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        spoken = [_read(Path(folder) / str(number)) for number in range(len(lines))]
    if lines and not any(spoken):
        reason = result.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        raise MissingProgram(f"Festival's voice {voice} (it says: {reason})", package=package)
    return spoken


def _quoted(text: str) -> str:
    return text.replace("\\", " ").replace('"', " ").replace("\n", " ")


def _read(stem: Path) -> Spoken | None:
    """Return what Festival wrote of a line, if it got that far."""
    sound, labels = stem.with_suffix(".wav"), stem.with_suffix(".lab")
    if not sound.exists() or not labels.exists():
        return None
    with wave.open(str(sound)) as file:
        rate_hz = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    phones: list[Phoneme] = []
    for line in labels.read_text("latin-1").splitlines()[1:]:
        end, _, name = line.split()
        phones.append(Phoneme(phones[-1].end_s if phones else 0.0, float(end), name))
    return (samples, rate_hz, phones) if len(samples) and phones else None
