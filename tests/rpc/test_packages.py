"""Loading, listing and describing avatars."""

import asyncio
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from tests.rpc.conftest import picture, refused, request_of
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc.casting import Casting

BAD = grpc.StatusCode.INVALID_ARGUMENT
NONE = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def folder(tmp_path):
    """A folder for avatars, which is empty at first."""
    made = tmp_path / "avatars"
    made.mkdir()
    return made


def put(folder, name):
    """Put a copy of the shipped avatar into a folder under another name; return the package."""
    source = next(shipped / "iris" for shipped in default_folders() if (shipped / "iris").is_dir())
    package = folder / f"{name}-package"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("source"))
    manifest = package / "avatar.toml"
    manifest.write_text(manifest.read_text().replace('name = "iris"', f'name = "{name}"'))
    return package


async def load(rpc, **fields):
    return await rpc.stub.LoadPackage(messages.LoadPackageRequest(**fields))


async def test_an_avatar_is_loaded_by_name_once(rpc):
    first, second = [await load(rpc, package_name="iris") for _ in range(2)]
    assert first.success
    assert (first.package_name, first.frame_count) == ("iris", 1500)
    assert first.device.startswith("onnxruntime")
    assert "already" in second.message
    assert second.initialization_time_ms >= 0
    models = await rpc.stub.ListModels(messages.ListModelsRequest())
    assert "iris" in models.loaded_models
    assert models.count == len(models.loaded_models)


async def test_a_package_that_came_later_is_loaded_by_folder_and_by_name(start, folder, voice):
    rpc = await start(folders=[folder])
    ruth, gina = put(folder, "ruth"), put(folder, "gina")
    assert (await load(rpc, package_dir=str(ruth))).package_name == "ruth"
    assert (await load(rpc, package_dir="ruth-package", package_name="ruth")).success
    assert (await load(rpc, package_name="gina")).success
    assert gina.is_dir()
    request = request_of(voice, count=1)
    request.model_name = "ruth"
    assert (await rpc.stub.GenerateBatchWithAudio(request)).responses[0].success
    assert {"ruth", "gina"} <= set((await rpc.stub.ListModels(messages.ListModelsRequest())).loaded_models)


@pytest.mark.parametrize("place", ["/etc", "..", "../..", "/", "a\0b", "x" * 5000, "loop", "outside", ""])
async def test_a_folder_elsewhere_is_refused_without_a_look_into_it(start, folder, place):
    rpc = await start(folders=[folder])
    (folder / "loop").symlink_to(folder / "loop")
    put(folder.parent, "hidden")
    (folder / "outside").symlink_to(folder.parent / "hidden-package")
    if place:
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "avatar_folders"):
            await load(rpc, package_dir=place)
    else:
        async with refused(BAD, "model_name is missing"):
            await load(rpc)


async def test_what_is_no_package_or_broken_or_called_otherwise_is_said(start, folder):
    rpc = await start(folders=[folder])
    (folder / "empty").mkdir()
    async with refused(NONE, "avatar.toml"):
        await load(rpc, package_dir="empty")
    (put(folder, "ruth") / "plate.png").unlink()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "plate.png"):
        await load(rpc, package_dir="ruth-package")
    put(folder, "gina")
    async with refused(BAD, "'gina'", "'ruth'"):
        await load(rpc, package_dir="gina-package", package_name="ruth")
    async with refused(NONE, "'nobody'", "installed: gina, iris"):
        await load(rpc, package_name="nobody")


async def test_a_package_that_was_mended_loads_again(start, folder):
    rpc = await start(folders=[folder])
    package = put(folder, "ruth")
    plate = (package / "plate.png").read_bytes()
    (package / "plate.png").unlink()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await load(rpc, package_dir="ruth-package")
    (package / "plate.png").write_bytes(plate)
    assert (await load(rpc, package_dir="ruth-package")).success


async def test_an_avatar_is_described(rpc):
    answer = await rpc.stub.GetModelMetadata(messages.GetModelMetadataRequest(model_name="iris"))
    assert answer.success
    assert (answer.width, answer.height, answer.fps, answer.frame_count) == (512, 512, 25.0, 1500)
    assert list(answer.bounds) == [128, 224, 384, 432]
    assert list(answer.available_videos) == ["full_body"]
    assert answer.chunks_after == 1
    assert answer.chunks_before > 0


async def test_footage_is_shown_frame_by_frame(rpc):
    shown = [
        await rpc.stub.GetVideoFrame(messages.GetVideoFrameRequest(model_name="iris", frame_id=frame, video_type=video))
        for frame, video in ((0, ""), (0, "full_body"), (700, ""))
    ]
    assert shown[0].frame_data == shown[1].frame_data
    assert {answer.video_type for answer in shown} == {"full_body"}
    assert shown[2].frame_id == 700
    assert picture(shown[0].frame_data).shape == (512, 512, 3)
    assert np.abs(picture(shown[0].frame_data).astype(int) - picture(shown[2].frame_data)).mean() > 0.5


async def test_footage_that_there_is_not_is_said(rpc):
    for frame in (-1, 1500):
        async with refused(grpc.StatusCode.OUT_OF_RANGE, "0 to 1499", f"got {frame}"):
            await rpc.stub.GetVideoFrame(messages.GetVideoFrameRequest(model_name="iris", frame_id=frame))
    async with refused(BAD, "'rois_320'", "full_body"):
        await rpc.stub.GetVideoFrame(
            messages.GetVideoFrameRequest(model_name="iris", frame_id=1, video_type="rois_320")
        )


async def test_stats_count_the_frames_of_callers_who_came_at_the_same_time_first(rpc, voice):
    await asyncio.gather(*(rpc.stub.GenerateBatchWithAudio(request_of(voice, count=4)) for _ in range(3)))
    after = await rpc.stub.GetStats(messages.StatsRequest(model_name="iris"))
    assert after.total_requests == 12


async def test_stats_count_frames_and_time_model_calls(rpc, voice):
    ask = messages.StatsRequest(model_name="iris")
    before = await rpc.stub.GetStats(ask)
    assert (before.total_requests, before.max_inference_time_ms) == (0, 0)
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=12))
    after = await rpc.stub.GetStats(ask)
    times = [frame.inference_time_ms for frame in answer.responses]
    assert after.total_requests == 12
    assert after.avg_inference_time_ms == pytest.approx(np.mean(times))
    assert (after.min_inference_time_ms, after.max_inference_time_ms) == pytest.approx((min(times), max(times)))
    assert after.frame_count == 1500
    assert after.device in after.optimizations_active


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("GetStats", messages.StatsRequest),
        ("GetModelMetadata", messages.GetModelMetadataRequest),
        ("GetVideoFrame", messages.GetVideoFrameRequest),
    ],
)
async def test_an_unknown_model_is_not_found_wherever_it_is_asked_for(rpc, method, request_type):
    async with refused(NONE, "'sanders'", "iris"):
        await getattr(rpc.stub, method)(request_type(model_name="sanders"))
    async with refused(BAD, "model_name is missing", "iris"):
        await getattr(rpc.stub, method)(request_type())


async def test_a_caller_that_goes_away_does_not_end_the_loading_for_others(library):
    loading, asked = Future(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(_avatar):
        loop.call_soon_threadsafe(asked.set)
        return loading

    with ThreadPoolExecutor(1) as pool:
        casting = Casting(library, SimpleNamespace(load=load), pool)
        first, second = [asyncio.create_task(casting.get("iris")) for _ in range(2)]
        await asked.wait()
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        loading.set_result(SimpleNamespace(chunks_before=15, chunks_after=1))
        assert (await second).chunks_after == 1
