from dwell.server.sessions import LIFETIME_S, Sessions


def test_a_session_is_found_by_its_secret_name_until_it_is_over() -> None:
    sessions = Sessions()
    name = sessions.begin("k1", 100.0)
    found = sessions.find(name, 100.0 + LIFETIME_S - 1.0)
    assert found is not None
    assert (found.key_id, found.expires_at) == ("k1", 100.0 + LIFETIME_S)
    assert sessions.find(name, 100.0 + LIFETIME_S) is None
    assert sessions.find(name, 100.0) is None  # once it was over it stays so, also where a clock goes back


def test_another_name_finds_nothing_and_an_ended_one_neither() -> None:
    sessions = Sessions()
    name = sessions.begin("k1", 0.0)
    for wrong in ("", name[:-1], name + "x", name.swapcase()):
        assert sessions.find(wrong, 1.0) is None
    sessions.end("no such name")
    assert sessions.find(name, 1.0) is not None
    sessions.end(name)
    assert sessions.find(name, 1.0) is None


def test_each_session_has_a_name_and_a_mark_for_forms_of_its_own() -> None:
    sessions = Sessions()
    names = [sessions.begin("k1", 0.0) for _ in range(50)]
    marks = {found.csrf for name in names if (found := sessions.find(name, 0.0)) is not None}
    assert len(set(names)) == len(marks) == 50
    assert min(map(len, [*names, *marks])) >= 43  # 256 bits in base 64


def test_the_oldest_goes_where_there_are_too_many() -> None:
    sessions = Sessions()
    names = [sessions.begin(f"k{i}", 0.0) for i in range(1_001)]
    assert sessions.find(names[0], 0.0) is None
    assert sessions.find(names[1], 0.0) is not None


def test_who_signs_in_again_and_again_signs_out_nobody_but_himself() -> None:
    sessions = Sessions()
    other = sessions.begin("k2", 0.0)
    names = [sessions.begin("k1", 0.0) for _ in range(1_001)]
    assert sessions.find(other, 0.0) is not None
    assert [sessions.find(name, 0.0) is not None for name in (names[0], names[-51], names[-50], names[-1])] == [
        False, False, True, True,
    ]  # fmt: skip
