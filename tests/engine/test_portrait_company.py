"""Portraits of several sessions in one engine: they share calls, and go when nobody wants them any more."""

from __future__ import annotations

import math
import queue
import threading
import time

import numpy as np
import pytest

from tests.avatar.portrait_parts import IRIS, astronaut_photo, iris_photo
from tests.engine.stand_ins import SOON_S
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, create_portrait
from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.portrait import PortraitModel
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

FRAMES = 24


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> list[Avatar]:
    into, ear = tmp_path_factory.mktemp("portraits"), load_avatar(IRIS)
    photos = {"anna": iris_photo(), "bert": astronaut_photo()}
    return [
        load_avatar(create_portrait(photo, PortraitOptions(into, name, name), ear).folder)
        for name, photo in photos.items()
    ]


@pytest.fixture
def engine():
    engine = Engine(Settings(max_wait_ms=20), Metrics(), runtimes=[OnnxRuntime(threads=1)])
    engine.start()
    yield engine
    engine.close()


def voice(seed: int) -> np.ndarray:
    """Return sound that opens a mouth: noise that swells and fades; float32 (chunks, 640)."""
    noise = np.random.default_rng(seed).standard_normal(640 * FRAMES)
    swell = 0.5 + 0.5 * np.sin(np.arange(640 * FRAMES) / 1_900 + seed)
    return (0.2 * swell * noise).astype(np.float32).reshape(FRAMES, 640)


def contexts(model, seed: int) -> list:
    track = model.track()
    return [context for context in map(track.push, voice(seed)) if context is not None]


def spoken(engine: Engine, avatars: list[Avatar]) -> list[dict[int, tuple]]:
    """Let each avatar say its own sound, all at the same time; return crop and batch size by frame for each."""
    answers: list[queue.Queue] = [queue.Queue() for _ in avatars]
    streams = [engine.open(avatar, into.put) for avatar, into in zip(avatars, answers, strict=True)]
    # Deadlines that allow the whole wait for company.
    deadline_s = time.monotonic() + SOON_S
    sounds = [voice(seed) for seed, _ in enumerate(avatars)]
    for index in range(FRAMES):
        for stream, sound in zip(streams, sounds, strict=True):
            stream.push(sound[index], index=index, deadline_s=deadline_s, epoch=0)
    made = []
    for stream, into in zip(streams, answers, strict=True):
        faces = [into.get(timeout=SOON_S) for _ in range(FRAMES - stream.chunks_after)]
        made.append({face.index: (face.crop, face.batch_size) for face in faces})
        stream.close()
    return made


def test_sessions_with_different_faces_share_calls_and_look_as_if_alone(engine, portraits) -> None:
    for avatar in portraits:
        engine.load(avatar).result(SOON_S)
    calls = []
    model = PortraitModel.render_for

    def counted(self, models, jobs):
        calls.append({id(one) for one in models})
        return model(self, models, jobs)

    PortraitModel.render_for = counted
    try:
        together = spoken(engine, portraits)
    finally:
        PortraitModel.render_for = model
    assert any(len(models) == 2 for models in calls)
    alone = [spoken(engine, [portraits[0]])[0], None]
    # The second one says what it said beside the first.
    runtime = OnnxRuntime(threads=1)
    for number, avatar in enumerate(portraits):
        own = PortraitModel(avatar, runtime)
        for index, context in enumerate(contexts(own, number)):
            assert np.array_equal(own.render([Job(context, 0)])[0].crop, together[number][index][0])
    assert all(np.array_equal(crop, together[0][index][0]) for index, (crop, _) in alone[0].items())
    moving = [np.stack([crop for crop, _ in frames.values()]).astype(float).std(0).max() for frames in together]
    assert min(moving) > 20


def test_a_call_for_several_gives_each_its_own_face_strength_and_size(portraits) -> None:
    from dataclasses import replace

    runtime = OnnxRuntime(threads=1)
    strong = replace(portraits[1], model=replace(portraits[1].model, strength=1.4))
    models = [PortraitModel(avatar, runtime) for avatar in (portraits[0], portraits[1], strong)]
    assert len({model.company for model in models}) == 1
    context = contexts(models[0], 3)[15]
    made = models[0].render_for(models, [Job(context, 0)] * 3)
    for model, rendered in zip(models, made, strict=True):
        alone = model.render([Job(context, 0)])[0]
        assert np.array_equal(alone.crop, rendered.crop)
    assert made[0].crop.shape != made[1].crop.shape
    assert made[2].weights.max() > made[1].weights.max()


def test_portraits_of_one_ear_load_it_once_and_those_of_another_keep_apart(portraits, tmp_path) -> None:
    import shutil

    runtime = OnnxRuntime(threads=1)
    one, other = (PortraitModel(avatar, runtime) for avatar in portraits)
    assert one._ear is other._ear
    assert PortraitModel(portraits[0], OnnxRuntime(threads=1))._ear is not one._ear
    shutil.copytree(portraits[0].folder, tmp_path / "cora")
    with (tmp_path / "cora" / "ear.onnx").open("ab") as file:
        file.write(b"\x72\x00")  # an empty doc string: the same network in other bytes
    cora = PortraitModel(load_avatar(tmp_path / "cora"), runtime)
    assert cora.company != one.company
    assert cora._ear is not one._ear


def test_frames_of_many_portraits_in_one_bulk_call(engine, portraits) -> None:
    """As films of several faces at once are: they fill up each other's batches, and each gets what it asked for."""
    for avatar in portraits:
        engine.load(avatar).result(SOON_S)
    answers: list[queue.Queue] = [queue.Queue() for _ in portraits]
    streams = [engine.open(avatar, into.put, bulk=True) for avatar, into in zip(portraits, answers, strict=True)]
    for stream in streams:
        for index, samples in enumerate(voice(0)):
            stream.push(samples, index=index, deadline_s=math.inf, epoch=0)
    for avatar, into in zip(portraits, answers, strict=True):
        width, height = avatar.model.crop_size
        for _ in range(FRAMES - streams[0].chunks_after):
            face = into.get(timeout=SOON_S)
            assert face.error is None
            assert face.crop.shape == (height * 3 // 2, width)
    for stream in streams:
        stream.close()
    assert threading.active_count() < 50


def test_twenty_faces_that_come_and_go_leave_nothing_behind(engine, portraits, tmp_path) -> None:
    import shutil
    import weakref

    gone = []
    for number in range(20):
        name = f"visitor-{number}"
        shutil.copytree(portraits[number % 2].folder, tmp_path / name)
        manifest = tmp_path / name / "avatar.toml"
        manifest.write_text(manifest.read_text().replace(f'name = "{portraits[number % 2].name}"', f'name = "{name}"'))
        avatar = load_avatar(tmp_path / name)
        model = engine.load(avatar).result(SOON_S)
        stream = engine.open(avatar, lambda face: None)
        for index, samples in enumerate(voice(0)[:6]):
            stream.push(samples, index=index, deadline_s=time.monotonic() + SOON_S, epoch=0)
        engine.unload(avatar)  # while its frames are on their way
        assert name in {status.name for status in engine.status().models}
        stream.close()
        status = engine.status()
        assert status.models == ()
        assert status.memory_bytes == 0
        gone.append(weakref.ref(model))
        del model, stream, avatar
    deadline_s = time.monotonic() + SOON_S
    while any(model() is not None for model in gone) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not [model for model in gone if model() is not None]
