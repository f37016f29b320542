from urllib.parse import parse_qsl

import pytest

from dwell.server.dashboard.events import Asked, chosen

from .seen_lists import seen

LISTS = [
    seen(4, "Reset 2FA", user="u1", segment="how"),
    seen(3, "reset password", None, user="u2"),
    seen(2, "delete account", user="u1"),
    seen(1, "reset  2fa", user="u3"),
]


@pytest.mark.parametrize(
    ("asked", "seqs"),
    [
        (Asked(), [4, 3, 2, 1]),
        (Asked(user="u1"), [4, 2]),
        (Asked(text="RESET"), [4, 3, 1]),
        (Asked(text="reset", state="open"), [3]),
        (Asked(digest=LISTS[0].digest), [4, 1]),
        (Asked(segment="how"), [4]),
        (Asked(user="nobody"), []),
    ],
)
def test_lists_are_found_by_all_that_is_asked_at_once(asked: Asked, seqs: list[int]) -> None:
    assert [one.seq for one in chosen(LISTS, asked)] == seqs


def test_an_address_asks_for_the_same_again_whatever_is_in_it() -> None:
    asked = Asked(state="open", text="a&user=x#\"'<b>", segment="é %")
    again = dict(parse_qsl(asked.address))
    assert again == {"state": "open", "text": asked.text, "segment": asked.segment}
    assert Asked().address == ""
    assert not Asked(state="open").reads_lists
