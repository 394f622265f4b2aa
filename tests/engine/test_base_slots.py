import pytest

from webrtc_avatar.engine.base_slots import BaseSlots


def _play(slots: BaseSlots, bases) -> int:
    """Return how many of these frames had a place."""
    found = 0
    for base in bases:
        if slots.find(base) is None:
            slots.take(base)
        else:
            found += 1
    return found


def _turns(count: int, turns: int) -> list[int]:
    there_and_back = [*range(count), *range(count - 2, 0, -1)]
    return there_and_back * turns


def test_everything_is_found_again_where_everything_fits():
    slots = BaseSlots(10, patience=80)
    _play(slots, range(10))
    assert _play(slots, _turns(10, 2)) == len(_turns(10, 2))
    assert sorted(slots.find(base) for base in range(10)) == list(range(10))


@pytest.mark.parametrize("callers", [1, 5])
def test_footage_that_is_too_long_is_found_as_often_as_its_share_that_fits(callers):
    slots = BaseSlots(10, patience=8 * 40)
    _play(slots, _turns(40, 1))
    # Callers who began at different times play it in turns.
    turns = _turns(40, 4)
    played = [
        base
        for together in zip(*(turns[17 * caller :] for caller in range(callers)), strict=False)
        for base in together
    ]
    assert _play(slots, played) / len(played) == pytest.approx(10 / 40, abs=0.02)


def test_a_frame_that_nobody_plays_any_more_gives_up_its_place():
    slots = BaseSlots(5, patience=80)
    _play(slots, range(5))
    for _ in range(30):
        _play(slots, range(100, 105))
    assert all(slots.find(base) is not None for base in range(100, 105))
    assert len(slots) == 5


def test_without_places_nothing_is_kept():
    slots = BaseSlots(0, patience=0)
    assert _play(slots, [1, 1, 1]) == 0
    assert slots.take(1) is None


def test_cleared_places_are_free_again():
    slots = BaseSlots(2, patience=100)
    _play(slots, [1, 2])
    slots.clear()
    assert slots.find(1) is None
    assert slots.take(3) == 0
