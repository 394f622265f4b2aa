"""The command `webrtc-avatar eval`: one table of how good an avatar is, with what is asked of it.

Exit codes: 0 all gates hold, 1 some do not or something is missing, 2 the command line is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import Avatar, drawn
from webrtc_avatar.errors import AvatarServerError, InvalidSettings, MissingProgram
from webrtc_avatar.evaluation.gates import Result, table
from webrtc_avatar.evaluation.recordings import RecordingSet, recorded_speech
from webrtc_avatar.evaluation.speech_sets import SYNTHETIC, synthetic_set
from webrtc_avatar.training.utterances import Utterance

eval_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_RECORDINGS: dict[RecordingSet, str] = {"librivox": "LibriVox", "asterisk": "Asterisk prompts"}

_QUICK = 6
"""One in so many utterances is a quick look."""


@eval_app.command()
def evaluate(
    avatar: Annotated[str, typer.Argument(help="The avatar's name.")] = "iris",
    *,
    avatar_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with more avatar packages; may be repeated.")
    ] = None,
    look_aheads: Annotated[bool, typer.Option("--look-aheads", help="Also what each look-ahead costs.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only a fixed part of the speech, in some seconds.")] = False,
    gains: Annotated[bool, typer.Option("--gains", help="Also how it hears quiet and loud speech.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
) -> None:
    """Measure how well an avatar speaks, on speech and mouths that it was not made from, and print one table.

    Takes some minutes. The recordings come from the Debian packages pocketsphinx-testdata and asterisk-core-sounds-en-g722;
    without them those rows are left out, and said so.
    """
    try:
        if find_spec("scipy") is None:
            raise InvalidSettings("eval makes noises and whispers with scipy; install it with: pip install -e .[eval]")
        results = _evaluate(
            drawn(Library(avatar_folder or ()).get(avatar)),
            look_aheads=look_aheads,
            gains=gains,
            every=_QUICK if quick else 1,
        )
    except AvatarServerError as error:
        print(f"webrtc-avatar: {error.message}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(table(results))
    if json_path is not None:
        json_path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    failed = [result for result in results if not result.passed]
    print(f"\n{len(results) - len(failed)} of {len(results)} rows as asked for, or not asked for anything")
    raise typer.Exit(1 if failed else 0)


def _evaluate(avatar: Avatar, *, look_aheads: bool, gains: bool, every: int) -> list[Result]:
    from webrtc_avatar.evaluation import hearing
    from webrtc_avatar.evaluation.drawing import drawing
    from webrtc_avatar.evaluation.ear import load_ear
    from webrtc_avatar.evaluation.living import living

    ear, lookahead = load_ear(avatar.model.ear), avatar.model.chunks_after
    sets = speech(warn=lambda message: print(f"webrtc-avatar: {message}", file=sys.stderr))
    sets = {name: utterances[::every] for name, utterances in sets.items()}
    print(f"{avatar.name}, look-ahead {lookahead} chunks ({40 * lookahead} ms)\n")
    results = hearing.hearing(ear, sets, lookahead=lookahead)
    if hearing.REAL in sets:
        results += hearing.loudness(ear, sets[hearing.REAL], lookahead=lookahead)
    results += [hearing.stream_equals_whole(ear), hearing.cost(avatar.model.ear)]
    results += drawing(avatar) + living()
    if look_aheads:
        print(hearing.lookahead_table(ear, sets) + "\n")
    if gains:
        print(hearing.gain_table(ear, sets, lookahead=lookahead) + "\n")
    return results


def speech(warn: Callable[[str], None]) -> dict[str, list[Utterance]]:
    """Return all sets of speech that are at hand, by name; recordings count together as `real speech` and apart."""
    from webrtc_avatar.evaluation.hearing import REAL, UNSEEN, noise_set

    recorded: dict[str, list[Utterance]] = {}
    for name, title in _RECORDINGS.items():
        try:
            recorded[title] = recorded_speech(name)
        except MissingProgram as missing:
            warn(f"left out: {missing.message}")
    sets: dict[str, list[Utterance]] = {}
    if recorded:
        sets[REAL] = [utterance for utterances in recorded.values() for utterance in utterances]
    sets[UNSEEN] = synthetic_set("unseen")
    sets |= recorded
    sets[SYNTHETIC["language"]] = synthetic_set("language")
    sets["noise, breath, keyboard, street, music"] = noise_set()
    return sets
