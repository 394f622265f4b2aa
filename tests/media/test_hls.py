import re
import subprocess

import av
import numpy as np
import pytest

from webrtc_avatar.errors import CannotWrite, InvalidSettings
from webrtc_avatar.media.hls import HlsWriter

FLASH_EVERY = 20
"""Frames between a white picture with a loud tone and the next."""


def picture(number):
    frame = np.full((192, 128), 128, np.uint8)
    frame[:128] = 235 if number % FLASH_EVERY == 0 else 30
    return frame


def sound(number):
    if number % FLASH_EVERY:
        return np.zeros(1920, np.float32)
    return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(1920) / 48_000)).astype(np.float32)


def write(folder, frames, **options):
    changes = []
    writer = HlsWriter(
        folder, preset="ultrafast", on_change=lambda: changes.append(writer.playlist.segments), **options
    )
    for number in range(frames):
        writer.add(picture(number), sound(number))
    return writer, changes


def decode(folder):
    """Return the stream's pictures and sound as FFmpeg sees them: times and brightness, and times of loud sound."""
    with av.open(str(folder / "playlist.m3u8")) as container:
        pictures = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    with av.open(str(folder / "playlist.m3u8")) as container:
        heard = [(frame.time, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    return np.array(pictures).T, heard


@pytest.mark.parametrize("part_s", [None, 0.2, 0.32])
def test_pictures_and_sound_are_whole_and_in_step_from_the_first_to_the_last(tmp_path, part_s):
    writer, _ = write(tmp_path, 330, part_s=part_s)
    writer.finish()
    (times, brightness), heard = decode(tmp_path)
    assert len(times) == 330
    assert np.allclose(np.diff(times)[1:], 0.04, atol=1e-4)
    flashes = times[brightness > 128]
    samples = np.concatenate([part for _, part in heard])
    loud = np.abs(samples) > 0.2
    starts = np.flatnonzero(loud & ~np.concatenate(([False] * 4800, *[loud[:-4800]])))
    first_each = [group[0] for group in np.split(starts, np.flatnonzero(np.diff(starts) > 4800) + 1)]
    onsets = heard[0][0] + np.array(first_each) / 48_000
    assert len(flashes) == len(onsets) == 17
    assert np.abs(onsets - flashes).max() < 0.025
    assert np.abs(onsets - flashes)[1:].max() < 0.004
    assert len(samples) >= 330 * 1920


def test_standard_tools_play_it_to_the_end(tmp_path):
    writer, _ = write(tmp_path, 130)
    writer.finish()
    shown = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration:stream=codec_name,width,height,sample_rate",
         "-of", "default=nw=1", str(tmp_path / "playlist.m3u8")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for expected in ("codec_name=h264", "codec_name=aac", "width=128", "height=128", "sample_rate=48000"):
        assert expected in shown.stdout
    duration_s = float(re.search(r"duration=([\d.]+)", shown.stdout)[1])
    assert abs(duration_s - 130 / 25) < 0.05
    played = subprocess.run(
        ["ffmpeg", "-v", "warning", "-xerror", "-i", str(tmp_path / "playlist.m3u8"), "-f", "null", "-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert played.returncode == 0, played.stderr
    assert shown.stderr == played.stderr == ""


def test_the_playlist_grows_while_frames_come_and_ends_when_they_end(tmp_path):
    writer, changes = write(tmp_path, 120)
    text = (tmp_path / "playlist.m3u8").read_text()
    assert changes == [1, 2]
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text
    assert "ENDLIST" not in text
    assert re.findall(r"#EXTINF:([\d.]+),\n(\S+)", text) == [("2.02133", "seg_0.m4s"), ("2.00000", "seg_1.m4s")]
    writer.finish()
    writer.finish()
    text = (tmp_path / "playlist.m3u8").read_text()
    assert text.endswith("#EXTINF:0.80000,\nseg_2.m4s\n#EXT-X-ENDLIST\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "init.mp4",
        "playlist.m3u8",
        "seg_0.m4s",
        "seg_1.m4s",
        "seg_2.m4s",
    ]
    for number in range(3):
        joined = (tmp_path / "init.mp4").read_bytes() + (tmp_path / f"seg_{number}.m4s").read_bytes()
        (tmp_path / "one.mp4").write_bytes(joined)
        with av.open(str(tmp_path / "one.mp4")) as container:
            first = next(container.decode(video=0))
            assert first.key_frame
        with av.open(str(tmp_path / "one.mp4")) as container:
            assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


def test_low_latency_parts_are_listed_hinted_and_together_make_the_segments_of_which_the_first_is_one_part(tmp_path):
    writer, _ = write(tmp_path, 64, part_s=0.4)
    text = (tmp_path / "playlist.m3u8").read_text()
    target_s = float(re.search(r"PART-TARGET=([\d.]+)", text)[1])
    parts = re.findall(r'#EXT-X-PART:DURATION=([\d.]+),URI="(\S+?)"(,INDEPENDENT=YES)?', text)
    assert [name for _, name, _ in parts] == ["seg_0.0.m4s", *(f"seg_1.{n}.m4s" for n in range(5))]
    assert [bool(independent) for *_, independent in parts] == [True, True, False, False, False, False]
    assert all(0.85 * target_s <= float(duration) <= target_s for duration, *_ in parts)
    assert '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="seg_2.0.m4s"' in text
    assert "CAN-BLOCK-RELOAD=YES" in text
    joined = b"".join((tmp_path / name).read_bytes() for _, name, _ in parts[1:])
    assert (tmp_path / "seg_1.m4s").read_bytes() == joined
    for number in range(64, 500):
        writer.add(picture(number), sound(number))
    writer.finish()
    text = (tmp_path / "playlist.m3u8").read_text()
    assert len(re.findall("#EXTINF", text)) == 11
    named = set(re.findall(r"seg_[\d.]+m4s", text))
    assert {path.name for path in tmp_path.glob("seg_*")} == named
    assert "seg_0.0.m4s" not in named


def test_a_stream_without_frames_ends_too_and_a_closed_one_writes_nothing_more(tmp_path):
    HlsWriter(tmp_path).finish()
    assert (tmp_path / "playlist.m3u8").read_text().endswith("#EXT-X-ENDLIST\n")
    (tmp_path / "other").mkdir()
    writer, _ = write(tmp_path / "other", 55)
    writer.close()
    writer.close()
    assert not (tmp_path / "other" / "seg_1.m4s").exists()


def test_what_cannot_be_done_is_said(tmp_path):
    for options in ({"segment_s": 0.1}, {"segment_s": 11}, {"part_s": 0.1}, {"part_s": 3.0}):
        with pytest.raises(InvalidSettings):
            HlsWriter(tmp_path, **options)
    with pytest.raises(CannotWrite):
        HlsWriter(tmp_path / "gone").add(picture(0), sound(0))
