"""A tick waits as long for its face as the avatar's model was measured to need."""

from dataclasses import replace


async def test_a_model_that_is_slow_gets_more_time_than_the_settings_say(host, monkeypatch):
    session = await host.manager.create()
    assert session._timeline.budget_s == host.settings.render_budget_ms / 1000
    status = host.engine.status

    def slow():
        found = status()
        return replace(found, models=tuple(replace(model, batch_s={1: 0.04}) for model in found.models))

    monkeypatch.setattr(host.engine, "status", slow)
    assert (await host.manager.create())._timeline.budget_s == 0.13
    await session.set_avatar("iris")
    assert session._timeline.budget_s == 0.13
