"""Refined motion: more evaluations of the ear are nearer to the labels and calmer, lips still close, and batches change no bit."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.refinement import Refinement
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.errors import InvalidAvatar
from webrtc_avatar.evaluation.refined import EVALUATIONS, measure, mouths, refined
from webrtc_avatar.evaluation.speech_sets import synthetic_set
from webrtc_avatar.speech.visemes import WEIGHTS


@pytest.fixture(scope="module")
def iris():
    return Library().get("iris")


@pytest.fixture(scope="module")
def voices():
    """Five sentences by two voices that the ear was not trained on, with the times of what they say."""
    return synthetic_set("unseen")[::12]


def test_more_evaluations_are_nearer_to_the_labels_and_smoother_and_keep_lips_closing(iris, voices):
    motions = [measure(refined(iris, evaluations), voices) for evaluations in EVALUATIONS]
    for fewer, more in pairwise(motions):
        assert more.error < fewer.error
        assert more.jerk < 1.01 * fewer.jerk
    assert motions[-1].error < 0.95 * motions[0].error
    assert motions[2].jerk < 0.65 * motions[0].jerk
    assert motions[-1].jaw_correlation > motions[0].jaw_correlation
    closed = [motion.lips.rate("p b m closed") for motion in motions]
    assert min(closed) >= closed[0] - 0.01


def test_a_frame_is_the_same_to_the_bit_whatever_is_rendered_beside_it(iris, voices):
    model = refined(iris, 10)
    track = model.track()
    chunks = voices[0].samples[: 40 * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    contexts = [context for chunk in chunks if (context := track.push(chunk)) is not None]
    alone = [model.render([Job(context, 0)])[0].weights for context in contexts]
    for size in (2, 3, 7, 16):
        together = [made.weights for first in range(0, len(contexts), size) for made in
                    model.render([Job(context, 0) for context in contexts[first : first + size]])]  # fmt: skip
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("evaluations", range(2, 51))
def test_a_plan_asks_as_often_as_it_is_told_and_is_even_about_its_middle(evaluations):
    plan = Refinement(evaluations, WEIGHTS)
    rows = np.random.default_rng(0).normal(size=(plan.rows, 80)).astype(np.float32)
    assert plan.windows(rows).shape == (evaluations, 64, 80)
    answers = np.ones((evaluations, 4, len(WEIGHTS)), np.float32)
    assert np.allclose(plan.mouth(answers), 1, atol=1e-5)
    assert -2 <= plan.first_end < plan.last_end <= 18
    assert plan.chunks_after == -(-plan.last_end // 4) <= 5


def test_a_track_of_refined_motion_tells_every_frame_once_and_of_the_right_moment(iris, voices):
    sound = voices[1].samples
    plain, calm = mouths(refined(iris, 1), sound), mouths(refined(iris, 20), sound)
    assert calm.shape == plain.shape == (-(-len(sound) // CHUNK_SAMPLES), len(WEIGHTS))
    jaw = calm[:, 0] - calm[:, 0].mean()
    lags = range(-4, 5)
    matches = [float(np.roll(plain[:, 0] - plain[:, 0].mean(), lag) @ jaw) for lag in lags]
    assert lags[int(np.argmax(matches))] == 0


def test_each_frame_of_a_windowed_track_hears_its_own_sixteen_chunks_alone(iris, voices):
    model = refined(iris, 20)
    chunks = voices[2].samples[: 40 * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    whole, cut = model.track(windowed=True), model.track(first_chunk=10, windowed=True)
    from_whole = [whole.push(chunk) for chunk in chunks]
    from_cut = [cut.push(chunk) for chunk in chunks[10:]]
    assert whole.chunks_after == 7
    # Frame 20 is complete with chunk 27; the cut's begins eight chunks or more before it.
    assert np.allclose(from_whole[27], from_cut[17], atol=1e-5)


def test_an_ear_that_answers_for_fewer_look_aheads_is_refused(iris, monkeypatch):
    class Deaf(OnnxRuntime):
        def load(self, path, name):
            network = super().load(path, name)
            return lambda inputs: {
                key: value[:, :2] if key == "weights" else value for key, value in network(inputs).items()
            }

    refused = replace(iris, model=replace(iris.model, evaluations=10))
    with pytest.raises(InvalidAvatar, match="answers for 2 look-aheads"):
        VisemeModel(refused, Deaf(threads=1))
