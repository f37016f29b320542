import numpy as np

import service
from _service_load import answer_of, request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def test_an_answer_is_whole_when_its_body_is() -> None:
    assert answer_of(HEAD[:-1]) is None
    assert answer_of(HEAD + b"abc") is None
    assert answer_of(HEAD + b"abcd") == (200, b"abcd")
    assert answer_of(b"HTTP/1.1 204 No Content\r\n\r\n") == (204, b"")


def test_a_request_says_how_long_it_is() -> None:
    assert request("/p", b"{}", "k").endswith(
        b"Authorization: Bearer k\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_the_bars_are_judged_on_both_sides() -> None:
    def rounds(cpu_s: float, per_s: float) -> list[service.Round]:
        return [service.Round(per_s, 1e-3, 2e-3, cpu_s)] * 9

    def verdicts(times: float, per_s: float, idle: float) -> list[str]:
        of = {
            "rank, dwell": rounds(times * 1e-4, 1.0),
            "rank, bare": rounds(1e-4, 1.0),
            "feedback, dwell": rounds(1e-4, per_s),
        }
        # 50 syncs: 0.6 * 64 * 50 = 1,920 a second, less than 5,000
        lines = service.promises(of, np.full(9, 50.0), (idle, 0.0))
        return [line.split("|")[-2].strip() for line in (lines[2], lines[3], lines[5])]

    assert verdicts(2.4, 1_921.0, 0.009) == ["met"] * 3
    assert verdicts(2.6, 1_919.0, 0.011) == ["**not met**"] * 3
