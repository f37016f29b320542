"""Reactions that nobody waits for: sent together, in order, kept while the server is away, and counted when lost."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import dwell
from dwell.client.asking import MAX_ITEMS
from dwell.client.buffering import MAX_REQUEST_BYTES


def sent(stage: Any) -> list[str]:
    return [item["doc"] for asked in stage.asked if asked.path == "/v1/feedback" for item in asked.json]


def test_reactions_go_out_together_in_order_and_each_gets_its_answer(stage: Any) -> None:
    def answer(asked: Any) -> Any:
        return stage.scene(body={"results": [{"status": "joined", "reason": item["doc"]} for item in asked.json]})

    stage.otherwise = answer
    with dwell.Client(stage.url, flush_every_s=0.05) as client:
        answers = [client.submit_feedback(f"e-{i % 3}", "click", doc=f"d{i}") for i in range(100)]
        assert [one.result(5.0).reason for one in answers] == [f"d{i}" for i in range(100)]
    assert sent(stage) == [f"d{i}" for i in range(100)]
    assert len(stage.asked) < 10


def test_close_sends_what_waits_in_requests_of_bounded_size(stage: Any) -> None:
    n = 2 * MAX_ITEMS + 500
    client = dwell.Client(stage.url, flush_every_s=60.0)
    answers = [client.submit_feedback("e", "click", doc=f"d{i}") for i in range(n)]
    client.close()
    assert all(one.result(0.0).status == "joined" for one in answers)
    assert sent(stage) == [f"d{i}" for i in range(n)]
    assert all(len(asked.json) <= MAX_ITEMS and len(asked.body) <= MAX_REQUEST_BYTES for asked in stage.asked)


def test_a_full_request_does_not_wait(stage: Any) -> None:
    with dwell.Client(stage.url, flush_every_s=60.0) as client:
        answers = [client.submit_feedback("e", "click", doc=f"d{i}") for i in range(MAX_ITEMS)]
        assert answers[0].result(5.0).status == "joined"


def test_a_server_that_comes_back_gets_everything_once(stage: Any) -> None:
    stage.script = [stage.scene(503), stage.scene(hangs_up=True), stage.scene(500)]
    with dwell.Client(stage.url, flush_every_s=0.01) as client:
        answer = client.submit_feedback("e", "click", doc="d")
        assert answer.result(10.0).status == "joined"
    # the repetitions are one request to the server: the same key, the same body
    assert len({(asked.headers["idempotency-key"], asked.body) for asked in stage.asked}) == 1
    assert len(stage.asked) == 4


def test_a_full_buffer_drops_and_counts(nobody: str) -> None:
    client = dwell.Client(nobody, flush_every_s=60.0, max_buffered=3, close_timeout_s=0.2)
    answers = [client.submit_feedback("e", "click", doc=f"d{i}") for i in range(5)]
    assert [one.done() for one in answers] == [False, False, False, True, True]
    assert (answers[3].result().reason or "").startswith("overloaded")
    assert client.counters["dropped_feedback"] == 2
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 2.0
    assert [one.result(0.0).status for one in answers] == ["rejected"] * 5


def test_close_does_not_wait_for_a_server_that_never_answers(stage: Any) -> None:
    stage.script = [stage.scene(wait_s=3.0)]
    client = dwell.Client(stage.url, flush_every_s=0.01, close_timeout_s=0.2)
    answer = client.submit_feedback("e", "click", doc="d")
    while not stage.asked:
        time.sleep(0.01)
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 2.0
    assert answer.result(0.0).status == "rejected"
    assert client.counters["dropped_feedback"] == 1


def test_a_malformed_reaction_is_answered_at_once_and_not_sent(stage: Any) -> None:
    with dwell.Client(stage.url) as client:
        bad: Any = [("has space", "click", {}), ("e", 7, {}), ("e", "click", {"value": float("nan")})]
        codes = [client.submit_feedback(event, signal, **more).result(0.0).reason for event, signal, more in bad]
        assert [(code or "").partition(":")[0] for code in codes] == ["id", "type", "non_finite"]
    assert stage.asked == []


def test_many_reactions_are_answered_item_by_item(stage: Any) -> None:
    with dwell.Client(stage.url) as client:
        answers = client.feedback_many(
            [{"event_id": "e", "signal": "click"} if i % 2 else {"signal": "click"} for i in range(5)]
        )
    assert [one.status for one in answers] == ["rejected", "joined", "rejected", "joined", "rejected"]


def test_answers_that_are_too_few_are_no_answers(stage: Any) -> None:
    stage.script = [stage.scene(body={"results": []})]
    with dwell.Client(stage.url) as client:
        answer = client.feedback("e", "click")
    assert (answer.status, (answer.reason or "").partition(":")[0]) == ("rejected", "bad_answer")


def test_the_end_of_a_program_sends_what_waits(stage: Any) -> None:
    program = f"""
        import dwell
        client = dwell.Client({stage.url!r}, flush_every_s=60.0)
        client.submit_feedback("e", "click", doc="last words")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    assert sent(stage) == ["last words"]


def test_a_forked_child_has_connections_and_threads_of_its_own(stage: Any) -> None:
    program = f"""
        import os, dwell
        client = dwell.Client({stage.url!r}, flush_every_s=60.0, rank_timeout_s=5.0)
        candidates = [{{"id": "a", "x": 1.0}}, {{"id": "b", "x": 2.0}}]
        assert client.rank("q", candidates).fallback is None
        client.submit_feedback("e", "click", doc="of the parent")
        child = os.fork()
        assert client.rank("q", candidates).fallback is None
        client.submit_feedback("e", "click", doc="of the child" if not child else "of the parent again")
        client.close()
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    assert sorted(sent(stage)) == ["of the child", "of the parent", "of the parent again"]


def test_a_client_that_nobody_has_any_more_leaves_no_thread(stage: Any) -> None:
    others = set(threading.enumerate())  # of clients before, whose last flush may be under way
    client = dwell.Client(stage.url, flush_every_s=0.05)
    assert client.submit_feedback("e", "click").result(5.0).status == "joined"
    [thread] = [one for one in set(threading.enumerate()) - others if one.name.startswith("dwell-feedback")]
    del client
    thread.join(5.0)
    assert not thread.is_alive()


def test_async_reactions_go_out_together_in_order(stage: Any) -> None:
    async def main() -> list[dwell.Feedback]:
        async with dwell.AsyncClient(stage.url, flush_every_s=0.02) as client:
            waited = [client.submit_feedback("e", "click", doc=f"d{i}") for i in range(50)]
            first = await asyncio.gather(*waited)
            left = client.submit_feedback("e", "click", doc="d50")
        return [*first, left.result()]

    assert [one.status for one in asyncio.run(main())] == ["joined"] * 51
    assert sent(stage) == [f"d{i}" for i in range(51)]


def test_async_close_has_a_deadline(stage: Any) -> None:
    stage.script = [stage.scene(wait_s=3.0)]

    async def main() -> tuple[float, dwell.Feedback, dict[str, int]]:
        client = dwell.AsyncClient(stage.url, flush_every_s=0.01, close_timeout_s=0.2)
        answer = client.submit_feedback("e", "click", doc="d")
        while not stage.asked:  # noqa: ASYNC110 - the server stands in another thread
            await asyncio.sleep(0.01)
        start = time.monotonic()
        await client.close()
        return time.monotonic() - start, answer.result(), client.counters

    took_s, answer, counters = asyncio.run(main())
    assert took_s < 2.0
    assert answer.status == "rejected"
    assert counters["dropped_feedback"] == 1
