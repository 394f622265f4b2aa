"""What operators see."""

from prometheus_client.parser import text_string_to_metric_families


async def test_health_and_readiness(server):
    health = await server.client.get("/health")
    assert (health.status, await health.json()) == (200, {"status": "healthy"})
    ready = await server.client.get("/ready")
    assert (ready.status, await ready.json()) == (200, {"status": "ready"})


async def test_a_draining_server_is_healthy_but_not_ready(server):
    await server.live.aclose("draining")
    assert (await server.client.get("/health")).status == 200
    assert (await server.client.get("/ready")).status == 503
    response = await server.client.post("/api/sessions")
    assert response.status == 503
    assert (await response.json())["error"]["code"] == "server_draining"
    assert int(response.headers["Retry-After"]) > 0


async def test_metrics_count_sessions_and_time_every_stage(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="state", state="speaking")
    await peer.until(lambda: len(peer.pictures) >= 25)
    response = await server.client.get("/metrics")
    assert response.content_type == "text/plain"
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }
    assert samples["webrtc_avatar_sessions", "speaking"] == 1
    assert samples["webrtc_avatar_frames_total", "rendered"] > 0
    assert samples["webrtc_avatar_chunks_total", "received"] > 0
    for stage in ("engine", "compose", "encode_video", "encode_audio"):
        assert samples["webrtc_avatar_stage_run_seconds_count", stage] > 0, stage
    await server.client.delete(f"/api/sessions/{peer.session_id}")
    assert server.metric("webrtc_avatar_sessions", state="speaking") == 0
    assert server.metric("webrtc_avatar_sessions", state="idle") == 0
