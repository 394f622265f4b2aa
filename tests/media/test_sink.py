"""The microphone's packets become chunks that hold all the sound, in step with the sender's clock."""

import asyncio
import random
from dataclasses import dataclass

import av
import numpy as np
import pytest

from tests.media.peers import lag_and_match, speech
from webrtc_avatar.audio.chunk import SOUND_SAMPLES
from webrtc_avatar.media.opus import OpusEncoder
from webrtc_avatar.media.sink import MicrophoneSink
from webrtc_avatar.metrics import Metrics

PACKET_S = 0.02
ENCODER_LAG = 120
LEAD_IN = 72


class SimulatedLoop:
    """As much of an event loop as the sink needs, on a clock that tests move: timers run in order, at their time."""

    def __init__(self):
        self.time_s = 100.0
        self._timers = []
        self._count = 0

    def call_later(self, delay_s, callback, *arguments):
        self._count += 1
        timer = _Timer(self.time_s + delay_s, self._count, callback, arguments)
        self._timers.append(timer)
        return timer

    def advance_to(self, time_s):
        while True:
            due = [timer for timer in self._timers if not timer.cancelled and timer.due_s <= time_s]
            if not due:
                break
            timer = min(due, key=lambda timer: (timer.due_s, timer.count))
            self._timers.remove(timer)
            self.time_s = max(self.time_s, timer.due_s)
            timer.callback(*timer.arguments)
        self.time_s = max(self.time_s, time_s)

    @property
    def pending(self):
        return [timer for timer in self._timers if not timer.cancelled]


@dataclass
class _Timer:
    due_s: float
    count: int
    callback: object
    arguments: tuple
    cancelled: bool = False

    def cancel(self):
        self.cancelled = True


class Bench:
    """A sink with a simulated clock and a list of what it fed."""

    def __init__(self, start_timestamp=0, start_sequence=0):
        self.loop = SimulatedLoop()
        self.chunks = []
        self.fed_s = []
        self.metrics = Metrics()
        self.sink = MicrophoneSink(self._feed, loop=self.loop, metrics=self.metrics, now=lambda: self.loop.time_s)
        self.start_s = self.loop.time_s
        self.start_timestamp = start_timestamp
        self.start_sequence = start_sequence

    def _feed(self, chunk):
        self.chunks.append(chunk)
        self.fed_s.append(self.loop.time_s - self.start_s)

    def arrive(self, n, payload, at_s, timestamp=None):
        self.loop.advance_to(self.start_s + at_s)
        self.sink.receive(
            sequence=(self.start_sequence + n) % 65536,
            timestamp=(self.start_timestamp + (960 * n if timestamp is None else timestamp)) % (1 << 32),
            payload=payload,
        )

    def until(self, at_s):
        self.loop.advance_to(self.start_s + at_s)

    @property
    def sound(self):
        return np.concatenate([chunk.sound for chunk in self.chunks])

    @property
    def filled(self):
        return [chunk.synthetic for chunk in self.chunks]


@pytest.fixture(scope="module")
def said(speech_folder):
    return speech(speech_folder / "sense_and_sensibility_01_austen_64kb-0870.wav")


@pytest.fixture(scope="module")
def packets(said):
    encoder = OpusEncoder(48_000)
    return [encoder.encode(said[n : n + 960]) for n in range(0, len(said), 960)]


def test_all_the_sound_arrives_and_each_chunk_with_the_packet_that_ends_it(packets, said):
    bench = Bench(start_timestamp=(1 << 32) - 30_000, start_sequence=65_500)
    for n, payload in enumerate(packets):
        bench.arrive(n, payload, n * PACKET_S)
    assert len(bench.chunks) == len(packets) // 2
    assert bench.fed_s == pytest.approx([(2 * n + 1) * PACKET_S for n in range(len(bench.chunks))])
    assert not any(bench.filled)
    lag, match = lag_and_match(bench.sound, said)
    assert lag == ENCODER_LAG + LEAD_IN
    assert match > 0.95
    times = [chunk.media_time_s for chunk in bench.chunks]
    assert times == pytest.approx([0.04 * n - LEAD_IN / 48_000 for n in range(len(times))])
    assert bench.sink.samples_concealed == 0


@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_loss_reordering_and_duplicates_never_shift_the_sound(packets, said, seed, loss):
    rng = random.Random(seed)
    bench = Bench(start_timestamp=rng.getrandbits(32), start_sequence=rng.getrandbits(16))
    arrivals = []
    for n, payload in enumerate(packets):
        if n in (0, len(packets) - 1) or rng.random() >= loss:
            arrivals.append((n * PACKET_S + (n > 0) * min(0.05, rng.expovariate(1 / 0.008)), n, payload))
        if rng.random() < 0.03:
            arrivals.append((n * PACKET_S + 0.001, n, payload))
    for at_s, n, payload in sorted(arrivals):
        bench.arrive(n, payload, at_s)
    bench.until(len(packets) * PACKET_S + 0.05)
    assert len(bench.chunks) == len(packets) // 2
    lag, match = lag_and_match(bench.sound, said)
    assert lag == ENCODER_LAG + LEAD_IN
    assert match > (0.85 if loss < 0.1 else 0.65)
    # No part of it has moved either.
    for start in range(0, len(said) - 48_000, 48_000):
        part = bench.sound[start : start + 49_000]
        assert lag_and_match(part, said[start : start + 48_000])[0] == lag


def test_a_lost_packet_delays_its_chunk_by_at_most_half_a_frame_more(packets):
    bench = Bench()
    for n in range(60):
        if n != 31:
            bench.arrive(n, packets[n], n * PACKET_S)
    delay_s = bench.fed_s[15] - 31 * PACKET_S
    assert 0 < delay_s <= 0.0301
    assert bench.sink.packets_lost == 1
    assert 0 < bench.sink.samples_concealed == 960


def test_when_packets_stop_silence_flows_in_real_time_and_nothing_shifts_when_they_resume(packets, said):
    bench = Bench()
    stop, resume = 100, 250
    for n in range(stop):
        bench.arrive(n, packets[n], n * PACKET_S)
    bench.until((resume - 0.01) * PACKET_S)
    fed_while_silent = np.array(bench.fed_s[stop // 2 :])
    assert len(fed_while_silent) >= (resume - stop) // 2 - 2
    assert np.diff(fed_while_silent).max() < 0.061
    assert all(bench.filled[stop // 2 + 1 :])
    for n in range(resume, len(packets)):
        bench.arrive(n - resume + stop, packets[n], n * PACKET_S, timestamp=960 * n)
    assert len(bench.chunks) == len(packets) // 2
    assert bench.sink.packets_late == 0
    before, after = bench.sound[: stop * 960], bench.sound[resume * 960 :]
    assert lag_and_match(before, said[: stop * 960 - 500])[0] == ENCODER_LAG + LEAD_IN
    assert lag_and_match(after, said[resume * 960 : -500])[0] == ENCODER_LAG + LEAD_IN
    assert not bench.sound[(stop + 5) * 960 : (resume - 1) * 960].any()


@pytest.mark.parametrize("late_s", [0.03, 0.07, 0.15])
def test_packets_that_all_come_later_from_now_on_lose_little(packets, late_s):
    bench = Bench()
    for n in range(200):
        bench.arrive(n, packets[n], n * PACKET_S + late_s * (n >= 100))
    assert len(bench.chunks) == 100
    assert bench.sink.packets_late * PACKET_S <= late_s
    assert not any(bench.filled[56:])


@pytest.mark.parametrize("milliseconds", [10, 40, 60])
def test_packets_of_any_duration_are_understood(said, milliseconds):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "s16"
    encoder.options = {"frame_duration": str(milliseconds)}
    samples = 48 * milliseconds
    bench = Bench()
    sent = 0
    for n in range(0, 96_000, samples):
        frame = av.AudioFrame.from_ndarray(said[n : n + samples].repeat(2).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = 48_000, n
        for packet in encoder.encode(frame):
            bench.arrive(sent, bytes(packet), sent * milliseconds / 1000, timestamp=sent * samples)
            sent += 1
    assert len(bench.chunks) == sent * samples // SOUND_SAMPLES
    assert not any(bench.filled)
    lag, match = lag_and_match(bench.sound, said[:96_000])
    assert lag == 312 + LEAD_IN
    assert match > 0.9


def test_sparse_packets_of_discontinuous_transmission_keep_the_clock(packets):
    bench = Bench()
    silence = OpusEncoder(48_000).encode(np.zeros(960, np.int16))
    for n in range(10):
        bench.arrive(n, packets[n], n * PACKET_S)
    for n in range(10):
        place = 10 + 20 * (n + 1)
        bench.arrive(10 + n, silence, place * PACKET_S, timestamp=960 * place)
    assert len(bench.chunks) == (10 + 200 + 1) // 2
    gaps = np.diff(bench.fed_s)
    assert gaps.max() < 0.1


def test_a_jump_of_the_timestamps_replays_no_silence(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    for n in range(50, 100):
        bench.arrive(n, packets[n], n * PACKET_S, timestamp=960 * n + 10 * 48_000)
    for n in range(100, 150):
        bench.arrive(n, packets[n], n * PACKET_S, timestamp=960 * n - 100 * 48_000)
    assert len(bench.chunks) == 75
    assert bench.sink.samples_concealed == 0


def test_timestamps_that_paused_with_the_microphone_lose_no_more_than_a_fifth_of_a_second(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    for n in range(50, 120):
        bench.arrive(n, packets[n], n * PACKET_S + 0.7)
    assert bench.sink.packets_late <= 12
    assert not any(bench.filled[-25:])
    assert np.diff(bench.fed_s).max() < 0.12
    assert bench.fed_s[-1] == pytest.approx(119 * PACKET_S + 0.7)


def test_a_sender_that_begins_anew_is_followed_at_once(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    bench.start_sequence, bench.start_timestamp = 30_000, 123_456_789
    for n in range(50, 100):
        bench.arrive(n, packets[n], n * PACKET_S)
    assert len(bench.chunks) == 50
    assert bench.sink.samples_concealed == 0


def test_another_source_is_followed_at_once(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    for n in range(50, 100):
        bench.until(n * PACKET_S)
        bench.sink.receive(sequence=n - 49, timestamp=n * 960 + 7_000, payload=packets[n], source=99)
    assert len(bench.chunks) == 50


@pytest.mark.parametrize("drift", [-3e-3, 3e-3])
def test_drift_of_the_senders_clock_does_not_pile_up(packets, drift):
    bench = Bench()
    silence = OpusEncoder(48_000).encode(np.zeros(960, np.int16))
    count = 50 * 60
    for n in range(count):
        bench.arrive(n, silence, n * PACKET_S * (1 + drift))
    assert len(bench.chunks) == count // 2
    assert bench.sink.samples_concealed == 0
    assert bench.fed_s[-1] == pytest.approx((count - 1) * PACKET_S * (1 + drift))


def test_before_the_first_packet_silence_flows_from_the_start(packets):
    bench = Bench()
    bench.sink.start()
    bench.sink.start()
    bench.until(2.0)
    assert 45 <= len(bench.chunks) <= 50
    assert all(bench.filled)
    for n in range(50):
        bench.arrive(n, packets[n], 2.0 + n * PACKET_S)
    assert not any(bench.filled[-24:])
    assert len(bench.chunks) == pytest.approx(75, abs=2)


def test_a_stalled_event_loop_loses_no_sound_that_waits_in_the_socket(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    # For half a second nothing runs; then timers are late, and packets come one after the other.
    bench.loop.time_s += 0.5
    for n in range(50, 75):
        bench.loop.advance_to(bench.loop.time_s + 0.0001)
        bench.sink.receive(sequence=n, timestamp=960 * n, payload=packets[n])
    for n in range(75, 100):
        bench.arrive(n, packets[n], n * PACKET_S)
    assert bench.sink.packets_late == 0
    assert len(bench.chunks) == 50
    assert not any(bench.filled)


def test_after_a_long_stall_the_missed_silence_is_not_replayed(packets):
    bench = Bench()
    for n in range(50):
        bench.arrive(n, packets[n], n * PACKET_S)
    bench.loop.time_s += 30.0
    bench.loop.advance_to(bench.loop.time_s + 0.1)
    assert len(bench.chunks) < 25 + 10


def test_payloads_that_are_not_opus_become_a_gap_and_are_counted(packets):
    bench = Bench()
    for n in range(100):
        bench.arrive(n, b"\xff\xff\xff" if 40 <= n < 50 else packets[n], n * PACKET_S)
    assert bench.sink.packets_invalid == 10
    assert bench.fed_s == pytest.approx([(2 * n + 1) * PACKET_S for n in range(50)])
    assert bench.filled == [20 <= n < 25 for n in range(50)]


def test_a_session_that_refuses_chunks_does_not_end_the_reception(packets):
    bench = Bench()
    fed = bench.sink._feed
    bench.sink._feed = lambda chunk: 1 / 0
    for n in range(10):
        bench.arrive(n, packets[n], n * PACKET_S)
    bench.sink._feed = fed
    for n in range(10, 20):
        bench.arrive(n, packets[n], n * PACKET_S)
    assert len(bench.chunks) == 5


async def test_after_closing_nothing_is_fed_and_no_timer_is_left(packets):
    bench = Bench()
    for n in range(10):
        bench.arrive(n, packets[n], n * PACKET_S)
    await bench.sink.aclose()
    await bench.sink.aclose()
    fed = len(bench.chunks)
    assert not bench.loop.pending
    bench.arrive(10, packets[10], 0.5)
    bench.sink.start()
    bench.until(5.0)
    assert len(bench.chunks) == fed
    assert bench.chunks[0].sound.shape == (SOUND_SAMPLES,)


async def test_a_sink_needs_no_more_than_its_event_loop():
    sink = MicrophoneSink(lambda chunk: None)
    sink.start()
    await sink.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
