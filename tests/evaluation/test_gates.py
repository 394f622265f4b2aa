import math

from webrtc_avatar.evaluation.gates import Gate, Result, table


def test_a_gate_holds_on_its_borders_and_never_for_what_is_not_a_number():
    gate = Gate(least=-20, most=40)
    assert gate.holds(-20)
    assert gate.holds(40)
    assert not gate.holds(41)
    assert not gate.holds(-21)
    assert not gate.holds(math.nan)
    assert not Gate(least=0.5).holds(math.nan)


def test_a_gate_is_told_in_the_unit_of_the_row():
    assert Gate(least=0.85).text(100) == ">= 85"
    assert Gate(most=1.3).text() == "<= 1.3"
    assert Gate(least=-20, most=40).text() == "-20 to 40"


def test_the_table_marks_what_missed_its_gate():
    rows = table(
        [
            Result("closed", "speech", 0.9, "9/10 (90 %)", Gate(least=0.85), scale=100),
            Result("closed", "song", 0.5, "5/10 (50 %)", Gate(least=0.85), scale=100),
            Result("seen", "song", 0.5, "half"),
        ]
    ).splitlines()
    assert rows[2].endswith("| >= 85 | yes |")
    assert rows[3].endswith("| >= 85 | **no** |")
    assert rows[4].endswith("| half |  |  |")
