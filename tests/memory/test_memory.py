"""What a memory promises, through its public face."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import dwell
import dwell.memory
from dwell.errors import ConfigError, FeatureSchemaError, RecordError, StorageError, StoreClosedError, StoreOwnedError
from dwell.memory import STARTING_WEIGHTS, Memory

DAY_S = 86_400.0
NOW = 1_700_000_000.0
PEPPER = "memory-tests-pepper-of-32-bytes!"


@pytest.fixture
def memory() -> Iterator[Memory]:
    with dwell.memory.open(":memory:", pepper=PEPPER, temperature=0.0) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.dwell"


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()) if file.is_file())


def test_the_same_text_is_one_memory_and_the_same_id_is_replaced(memory: Memory) -> None:
    first = memory.add("Tea at five.", metadata={"from": "diary"}, now=NOW)
    assert memory.add("Tea at five.", now=NOW + 9.0) == first
    kept = memory.get(first)
    assert kept is not None
    assert (kept.metadata, kept.added_at, len(memory)) == ({"from": "diary"}, NOW, 1)
    assert memory.add("Tea at five.", metadata={"from": "letter"}, now=NOW) == first
    assert memory.get(first).metadata == {"from": "letter"}  # type: ignore[union-attr]

    assert memory.add("Coffee at four.", id="drink", now=NOW) == "drink"
    assert memory.add("Water at three.", id="drink", now=NOW + 1.0) == "drink"
    assert memory.get("drink").text == "Water at three."  # type: ignore[union-attr]
    assert [kept.id for kept in memory] == [first, "drink"]
    assert "drink" in memory
    assert memory.search("coffee", now=NOW).items == ()
    assert [item.id for item in memory.search("water", now=NOW)] == ["drink"]


def test_ids_made_from_texts_tell_nothing_without_the_pepper() -> None:
    with dwell.memory.open(":memory:", pepper=PEPPER) as one, dwell.memory.open(":memory:", pepper=PEPPER) as same:
        assert one.add("Tea at five.") == same.add("Tea at five.")
    with dwell.memory.open(":memory:", pepper="another-pepper-of-thirty-2-bytes") as other:
        assert other.add("Tea at five.") != one.loop.pseudonym("x")
        assert "Tea" not in other.add("Tea at five.")


def test_what_matches_by_words_and_meaning_comes_best_first(memory: Memory) -> None:
    for i, text in enumerate(["The cat sleeps on the sofa.", "Invoices are due in May.", "The cat eats fish."]):
        memory.add(text, id=f"m{i}", now=NOW)
    recall = memory.search("what does the cat eat", now=NOW, event_id="e")
    assert recall.items[0].id == "m2"
    assert (recall.event_id, recall.fallback) == ("e", None)
    scores = [item.score for item in recall]
    assert scores == sorted(scores, reverse=True)
    assert all(item.propensity == 1.0 for item in recall)  # nothing is drawn at temperature 0
    assert memory.search("quux", now=NOW) == dwell.memory.Recall(None, (), 0)
    assert len(memory.search("cat", k=1, now=NOW)) == 1


def test_the_starting_formula_orders_until_there_is_a_better_one(memory: Memory) -> None:
    """A peek's scores are the formula, computed by hand from what is logged."""
    for i, text in enumerate(["red kettle", "red kettle on the stove"]):
        memory.add(text, id=f"m{i}", now=NOW - i * DAY_S)
    recall = memory.search("red kettle", now=NOW, event_id="e")
    memory.loop.when_recorded("e").result()
    experience = next(iter(memory.loop.experiences()))
    features = {str(result["id"]): result for result in experience.results_served}
    for item in recall:
        by_hand = sum(weight * features[item.id][name] for name, weight in STARTING_WEIGHTS.items())
        assert item.score == pytest.approx(by_hand, abs=1e-5)  # features are logged as float32
    assert features["m1"]["recency"] == pytest.approx(-1.0)  # -log2(1 + one day)


def test_a_retry_is_answered_with_what_was_recorded(memory: Memory) -> None:
    for text in ("red kettle", "blue kettle", "green kettle"):
        memory.add(text, now=NOW)
    first = memory.search("kettle", now=NOW, event_id="e")
    assert [item.id for item in memory.search("kettle", now=NOW, event_id="e")] == [item.id for item in first]
    memory.loop.when_recorded("e").result()
    assert memory.loop.event_counts()["open"] == 1


def test_a_retry_shows_what_was_shown_whatever_was_pinned_since(memory: Memory) -> None:
    for i in range(4):
        memory.add("kettle " * (4 - i) + "stove " * i, id=f"m{i}", now=NOW)
    plain = [item.id for item in memory.search("kettle", k=2, now=NOW, event_id="e")]
    memory.pin("m3")
    pinned = [item.id for item in memory.search("kettle", k=2, now=NOW, event_id="f")]
    assert pinned == ["m3", plain[0]]
    assert [item.id for item in memory.search("kettle", k=2, now=NOW, event_id="e")] == plain
    memory.unpin("m3")
    memory.pin("m2")
    assert [item.id for item in memory.search("kettle", k=2, now=NOW, event_id="f")] == pinned


def test_what_belongs_to_one_user_is_found_by_that_user_alone(memory: Memory) -> None:
    shared = memory.add("The kettle is in the kitchen.", now=NOW)
    hers = memory.add("My kettle is blue.", user="ann", now=NOW)
    his = memory.add("My kettle is blue.", user="bob", now=NOW)
    assert hers != his
    assert {item.id for item in memory.search("kettle", user="ann", now=NOW)} == {shared, hers}
    assert {item.id for item in memory.search("kettle", user="bob", now=NOW)} == {shared, his}
    assert {item.id for item in memory.search("kettle", now=NOW)} == {shared}
    assert {item.id for item in memory.search("kettle", user="eve", now=NOW)} == {shared}


def test_a_pinned_memory_stands_first_where_it_matches(memory: Memory) -> None:
    for i in range(12):
        memory.add("kettle " * (12 - i) + "stove " * i, id=f"m{i:02d}", now=NOW)
    last = memory.search("kettle", k=12, now=NOW, event_id="before").items[-1].id
    assert memory.pin(last)
    assert not memory.pin("nobody")
    recall = memory.search("kettle", k=3, now=NOW, event_id="after")
    assert [item.is_pinned for item in recall] == [True, False, False]
    assert (recall.items[0].id, recall.items[0].propensity, len(recall)) == (last, 1.0, 3)
    assert memory.search("kettle", k=3, now=NOW, peek=True).items[0].id == last
    assert memory.explain("after").story["is_altered"]
    assert not memory.explain("before").story["is_altered"]
    assert memory.feedback("after", "used", item=last, now=NOW + 1.0).status == "joined"

    assert memory.search("quux", now=NOW).items == ()  # where it does not match it does not stand
    assert memory.unpin(last)
    assert not any(item.is_pinned for item in memory.search("kettle", now=NOW, event_id="free"))
    assert not memory.explain("free").story["is_altered"]


def test_a_pin_that_changes_nothing_alters_nothing(memory: Memory) -> None:
    memory.add("kettle", id="first", now=NOW)
    memory.add("stove and kettle and much else besides", id="second", now=NOW)
    assert [item.id for item in memory.search("kettle", now=NOW)] == ["first", "second"]
    memory.pin("first")
    recall = memory.search("kettle", now=NOW, event_id="e")
    assert [item.id for item in recall] == ["first", "second"]
    assert not memory.explain("e").story["is_altered"]


def test_feedback_says_who_it_is_from(memory: Memory) -> None:
    item = memory.add("kettle", now=NOW)
    memory.search("kettle", now=NOW, event_id="e")
    assert memory.feedback("e", "used", item=item, now=NOW).status == "joined"
    assert memory.feedback("e", "used", item=item, idempotency_key="k", now=NOW).status in {"joined", "duplicate"}
    unknown = memory.feedback("e", "praised", item=item, now=NOW)
    assert (unknown.status, "praised" in str(unknown.reason)) == ("rejected", True)
    unknown = memory.feedback("e", "praised", item=item, by="agent", now=NOW)
    assert (unknown.status, "agent_praised" in str(unknown.reason)) == ("rejected", True)
    with pytest.raises(RecordError, match="'by', value 'robot'"):
        memory.feedback("e", "used", item=item, by="robot")  # type: ignore[arg-type]
    memory.forget(item)
    gone = memory.feedback("e", "used", item=item, now=NOW)
    assert gone.status == "rejected"
    assert str(gone.reason).startswith("forgotten")


def test_an_agents_word_counts_a_quarter_of_a_persons(memory: Memory) -> None:
    item = memory.add("kettle", now=NOW)
    told = {}
    for by in ("person", "agent"):
        memory.search("kettle", now=NOW, event_id=by)
        assert memory.feedback(by, "used", item=item, by=by, now=NOW).status == "joined"  # type: ignore[arg-type]
        told[by] = memory.explain(by, now=NOW + 3_600.0).items[0].activation.reward_mass
    assert {signal.name for signal in memory.loop.signals("agent")} == {"agent_used"}
    assert told["agent"] - told["person"] == pytest.approx(0.25 * told["person"])
    assert memory.feedback("agent", 7, by="agent").status == "rejected"  # type: ignore[arg-type]


def test_what_is_forgotten_stands_nowhere_on_the_disk(path: Path) -> None:
    """Among thousands of words, so that rows were moved between pages, and some of it still in the journal."""
    with dwell.memory.open(path, pepper=PEPPER, durability="relaxed") as memory:
        for i in range(150):
            memory.add(f"note {i} about topic{i % 50} and word{i}", id=f"m{i:03d}", now=NOW)
        secret = memory.add("The safe opens with zyzzyvaqux on xylophonic Tuesdays.", id="secret", now=NOW)
        memory.search("zyzzyvaqux", now=NOW, event_id="e")
        memory.feedback("e", "used", item=secret, now=NOW)
        memory.pin(secret)
        for i in range(70, 90):
            memory.forget(f"m{i:03d}")
        assert memory.forget(secret)
        assert not memory.forget(secret)
        assert memory.get(secret) is None
        assert "secret" not in memory.loop.activation.items()  # type: ignore[union-attr]
        assert memory.explain("e").items[0].text is None
        held = on_disk(path)
        assert b"xylophonic" not in held
        assert b"word77 " not in held
        assert b"word140" in held
    assert b"xylophonic" not in on_disk(path)
    with dwell.memory.open(path, pepper=PEPPER) as memory:
        assert len(memory) == 130


def test_a_user_is_forgotten_with_all_that_was_theirs(path: Path) -> None:
    with dwell.memory.open(path, pepper=PEPPER) as memory:
        memory.add("The kettle is red.", id="shared", now=NOW)
        memory.add("My xylophonic diary.", user="ann", now=NOW)
        gone = memory.add("A xylophonic kettle.", now=NOW)
        memory.search("zyzzyva kettle", user="ann", event_id="hers", now=NOW)
        memory.feedback("hers", "used", item=gone, now=NOW)
        memory.forget(gone)
        memory.search("kettle", user="bob", event_id="his", now=NOW)
        assert memory.forget_user("ann", now=NOW + 1.0) == 1
        assert memory.forget_user("ann", now=NOW + 1.0) == 0
        assert [kept.id for kept in memory] == ["shared"]
        assert memory.loop.is_erased("ann")
        assert memory.loop.activation.items() == ["shared"]  # type: ignore[union-attr]
        assert memory.loop.recorded(["hers", "his"]).keys() == {"his"}
    assert b"xylophonic" not in on_disk(path)
    assert b"zyzzyva" not in on_disk(path)


def test_all_is_there_after_reopening(path: Path) -> None:
    with dwell.memory.open(path, pepper=PEPPER, temperature=0.0) as memory:
        for i, text in enumerate(["red kettle", "blue kettle", "green stove"]):
            memory.add(text, id=f"m{i}", metadata={"n": i}, now=NOW)
        memory.pin("m1")
        memory.search("kettle", now=NOW, event_id="e", user="u")
        memory.feedback("e", "used", item="m0", now=NOW)
        before = memory.search("kettle", now=NOW + DAY_S, peek=True)
        kept = list(memory)
    with pytest.raises(StoreClosedError):
        memory.add("late")
    with dwell.memory.open(path, pepper=PEPPER, temperature=0.0) as memory:
        assert list(memory) == kept
        after = memory.search("kettle", now=NOW + DAY_S, peek=True)
        assert [(item.id, item.is_pinned) for item in after] == [(item.id, item.is_pinned) for item in before]
        assert [item.score for item in after] == pytest.approx([item.score for item in before], abs=1e-6)
        with pytest.raises(StoreOwnedError):
            dwell.memory.open(path, pepper=PEPPER)


def test_what_a_crash_left_half_done_is_finished_at_the_opening(path: Path) -> None:
    """Between the commit of the texts and that of activation: said by the texts, followed by activation."""
    with dwell.memory.open(path, pepper=PEPPER) as memory:
        for item in ("going", "pinned", "free"):
            memory.add(f"the {item} kettle xylophonic{item}", id=item, now=NOW)
        memory.search("kettle", now=NOW, event_id="e", user="u")
        memory.pin("free")
        memory._texts.remove(["going"])
        memory._texts.pin("pinned", is_pinned=True)
        memory._texts.pin("free", is_pinned=False)
    with dwell.memory.open(path, pepper=PEPPER) as memory:
        assert memory.loop.activation is not None
        assert sorted(memory.loop.activation.items()) == ["free", "pinned"]
        assert list(memory.loop.activation.pinned()) == ["pinned"]
        assert {kept.id: kept.is_pinned for kept in memory} == {"pinned": True, "free": False}
        assert memory._texts.leaving() == []
    assert b"xylophonicgoing" not in on_disk(path)


def test_texts_of_another_store_or_none_are_refused(path: Path, tmp_path: Path) -> None:
    for name in ("agent.dwell", "other.dwell"):
        with dwell.memory.open(tmp_path / name) as memory:
            memory.add("kettle", now=NOW)
            memory.search("kettle", now=NOW)
    texts = Path(f"{path}.texts")
    own = texts.read_bytes()
    texts.write_bytes((tmp_path / "other.dwell.texts").read_bytes())
    with pytest.raises(StorageError, match="belongs to another store"):
        dwell.memory.open(path)
    texts.unlink()
    with pytest.raises(StorageError, match=r"is gone.*`dwell mcp --loop STORE`"):
        dwell.memory.open(path)
    texts.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="no SQLite database"):
        dwell.memory.open(path)
    texts.write_bytes(own)
    with dwell.memory.open(path) as memory:
        assert len(memory) == 1


def test_the_least_active_goes_first_and_what_is_pinned_stays() -> None:
    with dwell.memory.open(":memory:", pepper=PEPPER, max_items=3) as memory:
        for i in range(3):
            memory.add(f"kettle {i}", id=f"m{i}", now=NOW + i)
        memory.pin("m0")
        memory.search("kettle", now=NOW + 5.0, event_id="e", user="u")
        memory.feedback("e", "used", item="m1", now=NOW + 6.0)
        memory.add("kettle 3", id="m3", now=NOW + 10.0)
        assert sorted(kept.id for kept in memory) == ["m0", "m1", "m3"]  # m2 was shown, and not used
        memory.add("kettle 3 again", id="m3", now=NOW + 11.0)
        assert len(memory) == 3
        for item in ("m1", "m3"):
            memory.pin(item)
        with pytest.raises(StorageError, match="the memory is full"):
            memory.add("one more", now=NOW + 12.0)
        assert sorted(memory.loop.activation.items()) == ["m0", "m1", "m3"]  # type: ignore[union-attr]


def test_what_is_too_old_is_not_found_and_goes() -> None:
    with dwell.memory.open(":memory:", pepper=PEPPER, max_age_s=DAY_S) as memory:
        memory.add("red kettle", id="old", now=NOW)
        memory.add("blue kettle", id="pinned", now=NOW)
        memory.add("green kettle", id="young", now=NOW + DAY_S)
        memory.pin("pinned")
        late = NOW + DAY_S + 1.0
        assert {item.id for item in memory.search("kettle", now=late)} == {"pinned", "young"}
        assert memory.trim(now=late) == ["old"]
        assert memory.trim(now=late) == []
        assert {kept.id for kept in memory} == {"pinned", "young"}


class Lettered:
    """A caller's embedding: how often each letter stands in a text."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        return np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)


def test_an_embedding_of_ones_own_is_kept_and_used(path: Path) -> None:
    embed = Lettered()
    with dwell.memory.open(path, pepper=PEPPER, embed=embed, temperature=0.0) as memory:
        memory.add("aaab", id="near", now=NOW)
        memory.add("zzzz", id="far", now=NOW)
        recall = memory.search("aaaaab", now=NOW, event_id="e")
        # the word itself stands nowhere: what is left is the angle, and "far" has none with it
        assert [item.id for item in recall] == ["near"]
        cosine = (3 * 5 + 1) / (10**0.5 * 26**0.5)
        assert recall.items[0].score == pytest.approx(cosine, abs=1e-5)
    embed.texts.clear()
    with pytest.raises(ConfigError, match="'embed'"):
        dwell.memory.open(path, pepper=PEPPER)
    with dwell.memory.open(path, pepper=PEPPER, embed=embed) as memory:
        assert embed.texts == []  # vectors are kept: nothing is embedded twice
        assert [item.id for item in memory.search("aaab", now=NOW)] == ["near"]
    with (
        dwell.memory.open(path, pepper=PEPPER, embed=lambda texts: np.ones((len(texts), 3))) as memory,
        pytest.raises(ConfigError, match="26 dimensions"),
    ):
        memory.add("new")


def test_a_memory_goes_over_to_an_embedding(path: Path) -> None:
    with dwell.memory.open(path, pepper=PEPPER) as memory:
        memory.add("aaab", id="near", now=NOW)
    embed = Lettered()
    with dwell.memory.open(path, pepper=PEPPER, embed=embed) as memory:
        assert embed.texts == ["aaab"]
        assert [item.id for item in memory.search("aaaaab", now=NOW)] == ["near"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(np.ones(26), "one vector"), ([[1.0, float("nan")]], "one vector"), ("letters", "did not answer numbers")],
)
def test_an_embedding_that_answers_something_else_is_refused_by_name(answer: object, words: str) -> None:
    with (
        dwell.memory.open(":memory:", pepper=PEPPER, embed=lambda _: answer) as memory,
        pytest.raises(ConfigError, match=words),
    ):
        memory.add("kettle")


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda m: m.add(""), "text"),
        (lambda m: m.add(" \n"), "text"),
        (lambda m: m.add(7), "text"),
        (lambda m: m.add("\ud800"), "text"),
        (lambda m: m.add("x" * 1_000_001), "text"),
        (lambda m: m.add("kettle", id=""), "id"),
        (lambda m: m.add("kettle", id="a\nb"), "id"),
        (lambda m: m.add("kettle", user=7), "user"),
        (lambda m: m.add("kettle", metadata=[1]), "metadata"),
        (lambda m: m.add("kettle", metadata={"at": float("nan")}), "metadata"),
        (lambda m: m.add("kettle", metadata={"a": "x" * 70_000}), "metadata"),
        (lambda m: m.add("kettle", now=-1.0), "now"),
        (lambda m: m.search(7), "query"),
        (lambda m: m.search("kettle", k=0), "k"),
        (lambda m: m.search("kettle", k=True), "k"),
        (lambda m: m.search("kettle", peek=1), "peek"),
        (lambda m: m.search("kettle", now=float("nan")), "now"),
        (lambda m: m.search("kettle", event_id="a b"), "event_id"),
        (lambda m: m.search("kettle", user=""), "user"),
        (lambda m: m.forget(7), "id"),
        (lambda m: m.forget_user(""), "user"),
        (lambda m: m.pin(None), "id"),
        (lambda m: m.get(b"x"), "id"),
        (lambda m: m.explain(7), "event_id"),
    ],
)
def test_bad_values_are_refused_by_name(memory: Memory, call: object, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        call(memory)  # type: ignore[operator]
    assert caught.value.field == field
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("where", "given", "field"),
    [
        ("", {}, "where"),
        (7, {}, "where"),
        ("postgresql://localhost/x", {}, "where"),
        (":memory:", {"user": ""}, "user"),
        (":memory:", {"max_items": 0}, "max_items"),
        (":memory:", {"max_age_s": 0.0}, "max_age_s"),
        (":memory:", {"max_age_s": True}, "max_age_s"),
        (":memory:", {"learner": "replay"}, "learner"),
        (":memory:", {"rewards": "praise"}, "rewards"),
        (":memory:", {"embed": 7}, "embed"),
    ],
)
def test_bad_arguments_of_the_opening_are_refused_by_name(where: object, given: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dwell.memory.open(where, **given)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_store_of_something_else_is_no_memory(path: Path) -> None:
    dwell.open(path, features=["price"], pepper=PEPPER).close()
    with pytest.raises(FeatureSchemaError, match=r"is no memory.*`dwell mcp --loop STORE`"):
        dwell.memory.open(path, pepper=PEPPER)
    assert not Path(f"{path}.texts").exists()


def test_threads_add_search_and_forget_at_once(path: Path) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for i in range(12):
                item = memory.add(f"{name} kettle {i}", now=NOW)
                recall = memory.search(f"{name} kettle", now=NOW)
                memory.feedback(str(recall.event_id), "used", item=item, now=NOW)
                if i % 3 == 0:
                    memory.forget(item)
        except BaseException as error:  # noqa: BLE001 - whatever a thread dies of is the test's failure
            failures.append(error)

    with dwell.memory.open(path, pepper=PEPPER, durability="relaxed") as memory:
        threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob", "cat")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(memory) == 3 * 12 - 3 * 4
        assert {kept.id for kept in memory} >= set(memory.loop.activation.items())  # type: ignore[union-attr]


def test_it_learns_on_and_stays_searchable(memory: Memory) -> None:
    for i in range(30):
        memory.add(f"kettle number {i} stands on shelf {i % 5}", id=f"m{i}", now=NOW)
    memory.search("kettle shelf", now=NOW, user="u")
    report = memory.train(now=NOW + DAY_S)
    assert report.decision.verdict == "hold"
    assert memory.search("number 7", k=1, now=NOW + DAY_S).items[0].id == "m7"
    assert memory.health(NOW + DAY_S).status in {"healthy", "warning"}
