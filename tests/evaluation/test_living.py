from webrtc_avatar.evaluation.living import living


def test_every_row_about_life_holds():
    assert [(result.what, result.on, result.text) for result in living(seed=3) if not result.passed] == []


def test_seeds_differ():
    assert [result.value for result in living(seed=1)] != [result.value for result in living(seed=2)]
