"""Sentences that synthetic voices speak, written for this purpose.

Each language has a file named after the voice of espeak-ng, as `pt-br.txt`: UTF-8, one sentence a line. Training holds
out sentences by their number, so new ones go to the end of a file.
"""

from __future__ import annotations

from importlib.resources import files


def _read_sentences() -> dict[str, tuple[str, ...]]:
    texts = sorted(
        (file for file in files(__name__).iterdir() if file.name.endswith(".txt")), key=lambda file: file.name
    )
    return {file.name.removesuffix(".txt"): tuple(file.read_text("utf-8").splitlines()) for file in texts}


SENTENCES: dict[str, tuple[str, ...]] = _read_sentences()
"""Sentences by espeak-ng language, languages in the order of their names, sentences in the order of their file."""
