"""The same surface: every public call of `Loop`, argument by argument, or a reason why it is not there."""

import inspect
from typing import Any

import pytest

from dwell.client import AsyncClient, Client
from dwell.loop import Loop

# What a client has not, and why. A call that `Loop` gains fails here until somebody decides.
NOT_THERE = {
    "activation": "items are explained, pinned and forgotten beside the store",
    "challenge": "grows trees on the events: it runs where they are",
    "close_events": "the server's learner closes events on its own schedule",
    "counts": "`counters` counts what the client saw; the server's own are in /metrics",
    "event_counts": "/metrics tells it",
    "export": "`dwell export` runs beside the server; `experiences` gives the newest ones",
    "facts": "reads the store's own records, beside the store",
    "feature_columns": "`params.feature_names` names them",
    "health_snapshot": "what the report is made of stays where it is made",
    "inspect": "the dashboard of the service tells it",
    "is_erased": "imports ask it, beside the store",
    "is_recording": "the server's /readyz tells it",
    "keep_answer": "the server keeps answers for retries by itself",
    "kept_answer": "the server keeps answers for retries by itself",
    "last_seq": "a place in a store's own order",
    "mode": "how the service was started; its dashboard tells it",
    "proposed": "the wire tells the live params; `TrainReport.proposed` has the proposal",
    "pseudonym": "the pepper stays with the store",
    "recorded": "imports and exports read it, beside the store",
    "refresh": "the server follows its learner by itself",
    "rewards": "imports and exports read it, beside the store",
    "shown": "the server asks it, to check tokens",
    "signals": "imports and exports read it, beside the store",
    "train_from_archive": "the archive is a folder that the learner reads: it runs where that is",
    "submit_feedback_many": "`submit_feedback` makes batches, each under a request key of the client's own",
    "version": "calls that take params take the number of a version",
    "when_recorded": "`rank` over the wire may wait for it: the field `wait`",
}
# What a client has beyond it: arguments that only make sense where several people move the same params.
MORE = {"promote": {"expected_version"}, "rollback": {"expected_version"}}


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


def test_every_call_of_the_loop_is_there_or_has_a_reason() -> None:
    assert set(public(Loop)) - set(public(Client)) == set(NOT_THERE)
    assert set(public(Client)) - set(public(Loop)) == {"counters"}
    assert set(public(AsyncClient)) == set(public(Client))


SHARED = sorted(set(public(Loop)) & set(public(Client)))


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_call_takes_the_same_arguments(kind: type, name: str) -> None:
    ours, theirs = public(kind)[name], public(Loop)[name]
    assert isinstance(ours, property) == isinstance(theirs, property)
    if isinstance(ours, property):
        return
    taken = inspect.signature(ours).parameters
    due = {n: p for n, p in inspect.signature(theirs).parameters.items() if n != "now"}  # the server's clock is law
    assert [n for n in taken if n not in MORE.get(name, ())] == list(due)
    for argument, parameter in due.items():
        assert taken[argument].kind == parameter.kind
        assert taken[argument].default == parameter.default
        if (name, argument) not in {("evaluate", "params"), ("promote", "params")}:  # they also take a version's number
            assert taken[argument].annotation == parameter.annotation
    for argument in MORE.get(name, ()):
        assert (taken[argument].kind, taken[argument].default) == (inspect.Parameter.KEYWORD_ONLY, None)


@pytest.mark.parametrize("name", SHARED)
def test_a_call_returns_the_same(name: str) -> None:
    def returned(kind: type) -> str:
        found = public(kind)[name]
        return str(inspect.signature(found.fget if isinstance(found, property) else found).return_annotation)

    assert returned(Client) == returned(Loop)
    if isinstance(public(Loop)[name], property):
        assert returned(AsyncClient) == f"Coroutine[Any, Any, {returned(Loop)}]"
    elif name == "submit_feedback":
        assert returned(AsyncClient) == f"asyncio.{returned(Loop)}"
    elif name == "experiences":
        assert returned(AsyncClient) == f"Async{returned(Loop)}"
    else:
        assert returned(AsyncClient) == returned(Loop)
        assert inspect.iscoroutinefunction(public(AsyncClient)[name])


def test_both_clients_are_made_alike() -> None:
    ours, theirs = (inspect.signature(kind).parameters for kind in (Client, AsyncClient))
    assert list(ours) == list(theirs)
    for name in set(ours) - {"http", "sleep"}:
        assert ours[name] == theirs[name]
