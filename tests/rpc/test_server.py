"""The server around the service: health, reflection, TLS, token, limits, deadlines, cancelled calls, draining."""

import asyncio
import socket
import subprocess

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.rpc.conftest import refused, request_of, until
from webrtc_avatar.errors import CannotListen, InvalidSettings
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2_grpc as stubs

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


async def health_of(rpc, service=""):
    stub = health_pb2_grpc.HealthStub(rpc.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_is_told_in_both_ways(rpc):
    assert await health_of(rpc) == await health_of(rpc, "OptimizedLipSyncService") == SERVING
    async with refused(grpc.StatusCode.NOT_FOUND):
        await health_of(rpc, "another")
    answer = await rpc.stub.HealthCheck(messages.HealthRequest())
    assert (answer.healthy, answer.status) == (True, "SERVING")
    assert answer.uptime_seconds >= 0


async def test_a_client_without_the_contract_learns_it_by_reflection(rpc, voice):
    def call():
        with grpc.insecure_channel(rpc.server.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            services = set(database.get_services())
            method = pool.FindServiceByName("OptimizedLipSyncService").methods_by_name["GetModelMetadata"]
            ask = channel.unary_unary(
                "/OptimizedLipSyncService/GetModelMetadata",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            return services, ask(GetMessageClass(method.input_type)(model_name="iris"))

    services, answer = await asyncio.to_thread(call)
    assert {"OptimizedLipSyncService", "grpc.health.v1.Health"} <= services
    assert answer.width == 512


async def test_with_a_token_other_callers_are_turned_away_but_health_is_told(start, voice):
    rpc = await start(token="open sesame")
    request = request_of(voice, count=1)
    for metadata in ((), (("authorization", "Bearer nonsense"),), (("authorization", "open sesame"),)):
        async with refused(grpc.StatusCode.UNAUTHENTICATED, "authorization"):
            await rpc.stub.GenerateBatchWithAudio(request, metadata=metadata)
    async with refused(grpc.StatusCode.UNAUTHENTICATED):
        async for _ in rpc.stub.StreamAudio(iter([])):
            pass
    assert await health_of(rpc) == SERVING
    given = (("authorization", "Bearer open sesame"),)
    assert (await rpc.stub.GenerateBatchWithAudio(request, metadata=given)).responses[0].success


async def test_with_a_certificate_calls_are_encrypted(start, certificate, voice):
    cert, key = certificate
    trusted = grpc.ssl_channel_credentials(cert.read_bytes())
    rpc = await start(grpc_tls_cert=cert, grpc_tls_key=key, credentials=trusted)
    assert (await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1))).responses[0].success
    async with grpc.aio.insecure_channel(rpc.server.address) as plain, refused(grpc.StatusCode.UNAVAILABLE):
        await stubs.OptimizedLipSyncServiceStub(plain).HealthCheck(messages.HealthRequest())


async def test_certificates_that_cannot_be_used_are_said(start, certificate, tmp_path):
    cert, key = certificate
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(InvalidSettings, match="grpc_tls_key is not set"):
        await start(grpc_tls_cert=cert)
    with pytest.raises(InvalidSettings, match="grpc_tls_cert is not set"):
        await start(grpc_tls_key=key)
    with pytest.raises(InvalidSettings, match=r"nonsense\.pem"):
        await start(grpc_tls_cert=cert, grpc_tls_key=nonsense)
    with pytest.raises(InvalidSettings, match="No such file"):
        await start(grpc_tls_cert=tmp_path / "missing.pem", grpc_tls_key=key)


async def test_a_taken_port_is_said_with_what_to_do(start, rpc):
    with pytest.raises(CannotListen, match=f"{rpc.server.port}.*--grpc-port.*--no-grpc"):
        await start(grpc_port=rpc.server.port)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListen):
        await start(grpc_port=taken.getsockname()[1])


async def test_a_message_above_the_limit_is_refused_by_size(start, voice):
    rpc = await start(rpc_max_message_bytes=100_000)
    async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max", "100000"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=40))


async def test_a_message_of_nearly_50_mb_is_taken(rpc):
    chunks = [bytes(2560)] * 20_000
    request = messages.BatchInferenceWithAudioRequest(model_name="iris", frame_count=1, audio_chunks=chunks)
    assert 49e6 < request.ByteSize() < 50 * 2**20
    assert (await rpc.stub.GenerateBatchWithAudio(request)).responses[0].success


async def test_a_cancelled_call_stops_costing_at_once(rpc, voice, gate, engine):
    call = rpc.stub.GenerateBatchWithAudio(request_of(voice, count=60))
    await asyncio.to_thread(gate.entered.wait, 10)
    call.cancel()
    await rpc.quiet()
    gate.open()
    # Whoever comes next is served, so all that was queued before has been looked at.
    alone = request_of(voice, count=1)
    assert (await rpc.stub.GenerateBatchWithAudio(alone)).responses[0].success
    assert gate.frames <= 16 + 1
    await until(lambda: engine.status().queued_bulk == 0)


async def test_a_call_past_its_deadline_stops_costing(rpc, voice, gate):
    async with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=60), timeout=0.3)
    await rpc.quiet()
    gate.open()
    alone = request_of(voice, count=1)
    assert (await rpc.stub.GenerateBatchWithAudio(alone)).responses[0].success
    assert gate.frames <= 16 + 1


async def test_a_client_that_vanishes_stops_costing(rpc, voice, gate):
    async with grpc.aio.insecure_channel(rpc.server.address) as channel:
        stub = stubs.OptimizedLipSyncServiceStub(channel)
        call = stub.GenerateBatchWithAudio(request_of(voice, count=60))
        await asyncio.to_thread(gate.entered.wait, 10)
        assert rpc.lipsync.calls == 1
    await rpc.quiet()
    assert call.done()


async def test_who_reads_nothing_is_rendered_little(start, voice, gate):
    gate.open()
    rpc = await start(options=[("grpc.http2.lookahead_bytes", 16_384), ("grpc.http2.bdp_probe", 0)])
    raw = messages.OutputOptions(format=messages.OutputOptions.RAW_BGR)

    async def speak():
        yield messages.StreamAudioRequest(model_name="iris", output=raw)
        for _ in range(20):
            yield messages.StreamAudioRequest(audio=voice.tobytes())

    call = rpc.stub.StreamAudio(speak())
    await asyncio.to_thread(gate.entered.wait, 10)
    before = -1
    while gate.frames != before:
        before = gate.frames
        await asyncio.sleep(0.5)
    assert gate.frames < 200  # of 1,500
    call.cancel()
    await rpc.quiet()


async def test_more_calls_than_may_run_are_refused(start, voice, gate):
    rpc = await start(rpc_max_calls=2)
    calls = [rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1)) for _ in range(2)]
    await until(lambda: rpc.lipsync.calls == 2)
    assert rpc.lipsync._metrics.registry.get_sample_value("webrtc_avatar_lipsync_calls") == 2
    async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "all 2 calls", "rpc_max_calls"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1))
    gate.open()
    assert [(await call).responses[0].success for call in calls] == [True, True]
    assert (await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1))).responses[0].success


async def test_draining_finishes_what_is_under_way_and_takes_nothing_new(rpc, voice, gate):
    call = rpc.stub.GenerateBatchWithAudio(request_of(voice, count=20))
    await asyncio.to_thread(gate.entered.wait, 10)
    drain = asyncio.create_task(rpc.server.drain())
    await until(lambda: rpc.lipsync.draining)
    async with refused(grpc.StatusCode.UNAVAILABLE, "shutting down"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1))
    assert await health_of(rpc) == NOT_SERVING
    assert not (await rpc.stub.HealthCheck(messages.HealthRequest())).healthy
    gate.open()
    assert len((await call).responses) == 20
    await asyncio.wait_for(drain, 10)


async def test_faults_of_the_server_are_internal_and_say_nothing_of_it(rpc, voice, monkeypatch):
    monkeypatch.setattr(rpc.lipsync, "batch_with_audio", lambda *_: 1 / 0)
    async with refused(grpc.StatusCode.INTERNAL, "its log says why"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1))
