"""What `nfe` and `seed` do to films: smoother mouths for more evaluations, and the same film to the bit whatever else is rendered."""

import asyncio

import numpy as np

from tests.server.chunked_parts import Caller, pictures_of, wav

MOUTH = np.s_[:, 330:420, 200:310]


async def whole_film(caller, session_id, folder):
    """Return a finished session's stream as bytes: all segments, in order."""
    await caller.until(session_id)
    path = await caller.film(session_id, folder)
    return b"".join(part.read_bytes() for part in sorted(path.parent.glob("seg_*.m4s")))


async def test_a_film_is_the_same_to_the_bit_alone_in_pieces_and_beside_others(start, photo, talk, tmp_path):
    caller = Caller(await start(chunked_max_sessions=12), photo)
    sound = talk[:32_000]
    alone = await caller.init(nfe=7)
    await caller.feed(alone, wav(sound), True)
    film = await whole_film(caller, alone, tmp_path / "alone")
    assert len(film) > 25_000
    others = [await caller.init(nfe=nfe, seed=nfe) for nfe in (7, 10)]
    beside, in_pieces = await caller.init(nfe=7), await caller.init(nfe=7, chunk_duration=0.3)
    await asyncio.gather(*(caller.feed(name, wav(talk[:48_000]), True) for name in others))
    await caller.feed(beside, wav(sound), True)
    for first in range(0, len(sound), 9_001):
        await caller.feed(in_pieces, wav(sound[first : first + 9_001]), first + 9_001 >= len(sound))
    assert await whole_film(caller, beside, tmp_path / "beside") == film
    assert await whole_film(caller, in_pieces, tmp_path / "pieces") == film


async def test_more_evaluations_move_the_mouth_more_smoothly(caller, talk, tmp_path):
    jerks = []
    for nfe in (5, 50):
        name = await caller.init(nfe=nfe, cfg_scale=1)
        await caller.feed(name, wav(talk[:28_000]), True)
        await caller.until(name)
        film = np.stack(pictures_of(await caller.film(name, tmp_path / str(nfe)))).astype(int)[MOUTH]
        jerks.append(float(np.sqrt(np.square(np.diff(film.reshape(len(film), -1), 3, axis=0)).mean())))
    assert jerks[1] < 0.95 * jerks[0]
