import asyncio
import wave
from dataclasses import replace

import av
import numpy as np
import pytest

from tests.avatar.footage_parts import make_footage
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.client.measure import STEP_S, audio_video_offset, level_dbfs
from webrtc_avatar.client.mouth import chroma_planes, opening
from webrtc_avatar.engine import bulk
from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.request import Face
from webrtc_avatar.errors import CannotWrite, UnreadableSound
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.render import film as film_module
from webrtc_avatar.render.film import Script, render
from webrtc_avatar.render.mp4 import Mp4
from webrtc_avatar.render.performance import Performance
from webrtc_avatar.settings import Settings

SETTINGS = Settings()


@pytest.fixture(scope="module")
def iris():
    return Library().get("iris")


@pytest.fixture(scope="module")
def engine():
    made = Engine(SETTINGS, Metrics())
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def talk(speech_folder, tmp_path_factory):
    """Two sentences with a pause between them."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    parts = []
    for name in ("0930", "0880"):
        parts += [read(speech_folder / f"sense_and_sensibility_01_austen_64kb-{name}.wav"), np.zeros(9_600, np.float32)]
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        target.writeframes((np.concatenate(parts) * 32767).astype("<i2").tobytes())
    return path


async def test_a_film_has_the_sound_to_the_sample_and_a_mouth_in_step_with_it(tmp_path, iris, engine, talk):
    told = []
    script = Script(audio=talk, output=tmp_path / "film.mp4", preset="ultrafast")
    made = await render(iris, script, engine=engine, settings=SETTINGS, progress=lambda *now: told.append(now))
    with av.open(str(script.output)) as container:
        pictures = [(frame.time, opening(*chroma_planes(frame))) for frame in container.decode(video=0)]
    times, mouth = np.array(pictures).T
    original, sound = read(talk), read(script.output)
    assert len(times) == made.frames == -(-len(original) // 640)
    assert np.allclose(times, np.arange(made.frames) / 25)
    assert made.failed_frames == 0
    assert told[-1] == (made.frames, made.frames)
    assert [frames for frames, _ in told] == sorted(frames for frames, _ in told)
    shifts = range(-60, 61)
    middle = slice(1_000, len(original) - 1_000)
    scores = [float(sound[middle.start + s : middle.stop + s] @ original[middle]) for s in shifts]
    assert shifts[int(np.argmax(scores))] == 0
    level = level_dbfs((np.repeat(sound, 3) * 32767).astype(np.int16))
    offset = audio_video_offset(np.arange(len(level)) * STEP_S, level, times, mouth)
    assert offset is not None
    assert abs(offset.lag_ms) < 40
    assert offset.correlation > 0.5


async def test_it_is_quiet_before_and_behind_and_only_the_part_asked_for_between(tmp_path, iris, engine, talk):
    script = Script(
        audio=talk,
        output=tmp_path / "film.mp4",
        start_s=1.0,
        duration_s=0.8,
        lead_in_s=0.4,
        lead_out_s=0.2,
        preset="ultrafast",
    )
    made = await render(iris, script, engine=engine, settings=SETTINGS)
    sound, original = read(script.output), read(talk)
    assert made.frames == 35
    assert np.abs(sound[:6_000]).max() < 1e-3
    assert np.corrcoef(sound[6_400:19_200], original[16_000:28_800])[0, 1] > 0.98


async def test_the_same_seed_makes_the_same_film_and_another_seed_another(tmp_path, iris, engine, talk):
    films = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        script = Script(
            audio=talk, output=tmp_path / f"{name}.mp4", duration_s=0.4, seed=seed, frame_px=720, preset="ultrafast"
        )
        await render(iris, script, engine=engine, settings=SETTINGS)
        with av.open(str(script.output)) as container:
            films.append(np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(int))
    assert films[0].shape == (10, 720, 720)
    # Batches of different sizes differ by a grey level, and what the encoder makes of it.
    assert np.abs(films[0] - films[1]).mean() < 0.1
    assert np.abs(films[0] - films[2]).mean() > 0.5


async def test_a_slow_encoder_holds_the_decoder_back_so_memory_stays_flat(tmp_path, iris, engine, monkeypatch):
    with wave.open(str(tmp_path / "long.wav"), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        target.writeframes(bytes(2 * 640 * 600))
    ahead, taken, written = [], 0, 0
    real_moments = film_module.moments

    def counted(*args, **kwargs):
        nonlocal taken
        for moment in real_moments(*args, **kwargs):
            taken += 1
            yield moment

    def add(self, picture, sound):
        nonlocal written
        written += 1
        ahead.append(taken - written)

    monkeypatch.setattr(film_module, "moments", counted)
    monkeypatch.setattr(Mp4, "add", add)
    script = Script(audio=tmp_path / "long.wav", output=tmp_path / "film.mp4")
    made = await render(iris, script, engine=engine, settings=SETTINGS)
    assert made.frames == written == taken == 600
    assert max(ahead) < 160


async def test_a_cancelled_film_leaves_nothing_and_no_thread(tmp_path, iris, engine, talk):
    begun = asyncio.Event()
    script = Script(audio=talk, output=tmp_path / "film.mp4")
    task = asyncio.create_task(render(iris, script, engine=engine, settings=SETTINGS, progress=lambda *_: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_an_error_in_one_thread_ends_all_and_is_told_as_it_is(tmp_path, iris, engine, talk, monkeypatch):
    def add(self, picture, sound):
        raise CannotWrite("no room")

    monkeypatch.setattr(Mp4, "add", add)
    with pytest.raises(CannotWrite, match="no room"):
        await render(iris, Script(audio=talk, output=tmp_path / "film.mp4"), engine=engine, settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []


async def test_without_sound_there_is_no_film(tmp_path, iris, engine):
    (tmp_path / "letter.wav").write_text("Dear reader")
    with pytest.raises(UnreadableSound):
        await render(
            iris,
            Script(audio=tmp_path / "letter.wav", output=tmp_path / "film.mp4"),
            engine=engine,
            settings=SETTINGS,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["letter.wav"]


def test_a_face_that_could_not_be_made_shows_the_one_before_and_is_counted(iris):
    def play(broken):
        performance = Performance(iris, SETTINGS, seed=0, frame_px=None, chunks_after=1)
        pictures = []
        for tick in range(6):
            performance.hear(voice)
            if tick:
                crop = None if tick == broken else np.full((240, 224), 60 + 20 * tick, np.uint8)
                pictures.append(performance.draw(tick - 1, voice, Face(index=tick - 1, epoch=0, crop=crop)))
        return performance.failed_frames, pictures

    voice = np.random.default_rng(0).normal(0, 0.2, 640).astype(np.float32)
    failed, shown = play(4)
    fine, expected = play(None)
    assert (failed, fine) == (1, 0)
    assert np.array_equal(shown[2], expected[2])
    assert not np.array_equal(shown[3], expected[3])
    assert np.array_equal(shown[4], expected[4])


def test_a_drawn_mouth_rests_while_nobody_speaks(iris):
    performance = Performance(iris, replace_style(SETTINGS), seed=0, frame_px=None, chunks_after=0)
    white = Face(index=0, epoch=0, crop=np.full((240, 224), 235, np.uint8))
    pictures = []
    for tick in range(3):
        silence = np.zeros(640, np.float32)
        performance.hear(silence)
        pictures.append(performance.draw(tick, silence, replace(white, index=tick)))
    assert np.array_equal(pictures[0], pictures[2])
    assert pictures[0][:512][248:408, 144:368].mean() < 200


def replace_style(settings):
    return settings.model_copy(update={"alive": False})


async def test_filmed_avatars_speak_in_their_own_frames_also_in_silence(tmp_path, engine):
    avatar = make_footage(tmp_path / "painted", width=160, height=120)
    with wave.open(str(tmp_path / "a.wav"), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        quiet, loud = np.zeros(20 * 640), 0.8 * np.random.default_rng(0).uniform(-1, 1, 20 * 640)
        target.writeframes((np.concatenate([quiet, loud]) * 32767).astype("<i2").tobytes())
    script = Script(audio=tmp_path / "a.wav", output=tmp_path / "film.mp4", crf=4)
    made = await render(avatar, script, engine=engine, settings=SETTINGS)
    with av.open(str(script.output)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert made.frames == len(frames) == 40
    assert frames[0].shape == (120, 160, 3)
    for number in (0, 4, 36):
        base = avatar.fold(number)
        x0, y0, x1, y1 = avatar.boxes[base]
        outside = np.abs(frames[number].astype(int) - avatar.frame(base))
        outside[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 0
        assert outside.mean() < 3
        inside = frames[number][y0 + 6 : y1 - 6, x0 + 6 : x1 - 6].mean()
        filmed = avatar.frame(base)[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6].mean()
        assert abs(inside - filmed) > 20, "the network tints every face it makes"


def test_the_mouth_may_open_when_the_look_ahead_hears_the_voice(iris):
    performance = Performance(iris, replace_style(SETTINGS), seed=0, frame_px=None, chunks_after=2)
    loud = np.random.default_rng(0).normal(0, 0.3, 640).astype(np.float32)
    chunks = [np.zeros(640, np.float32)] * 5 + [loud] * 5
    shown = []
    for number, samples in enumerate(chunks):
        performance.hear(samples)
        if number >= 2:
            white = Face(index=number - 2, epoch=0, crop=np.full((240, 224), 235, np.uint8))
            shown.append(performance.draw(number - 2, chunks[number - 2], white)[248:408, 144:368].mean())
    assert np.ptp(shown[:3]) < 1
    assert shown[3] > shown[2] + 10


async def test_a_face_that_rests_costs_no_model_call_and_speaks_as_if_it_had(iris, engine, talk):
    sound = np.concatenate([np.zeros(20_000, np.float32), read(talk), np.zeros(20_000, np.float32)])
    chunks = list(sound[: len(sound) // 640 * 640].reshape(-1, 640))
    films, calls = [], []
    for skips in (True, False):
        performance = Performance(iris, SETTINGS, seed=3, frame_px=None, chunks_after=1)

        async def heard(performance=performance):
            for samples in chunks:
                performance.hear(samples)
                yield samples
            performance.hear(np.zeros(640, np.float32))

        before = engine.status().frames
        wanted = performance.needs_face if skips else None
        faces = [face async for face in bulk.frames(engine, iris, heard(), wanted=wanted)]
        films.append([performance.draw(n, chunks[n], face) for n, face in enumerate(faces)])
        calls.append(engine.status().frames - before)
        assert performance.failed_frames == 0
    assert calls[1] == len(chunks)
    assert len(chunks) - 80 < calls[0] < len(chunks) - 60
    # Batches of different sizes differ by a grey level.
    assert max(int(np.abs(one.astype(int) - other).max()) for one, other in zip(*films, strict=True)) <= 2
