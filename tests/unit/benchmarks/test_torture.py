import pytest

import _torture_peers
import torture
from dwell.testing.buffer_torture import CASES, BufferAdapter, Result


def test_what_is_not_installed_is_listed_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_torture_peers.PEERS, "nobody", ("no-such-package", "Cpprb"))  # type: ignore[misc]
    assert torture.measure(["nobody"], is_quick=False) == ({}, {"nobody": "not installed"})


def test_every_peer_has_an_adapter_that_says_what_it_offers() -> None:
    for name, (_, adapter) in _torture_peers.PEERS.items():
        found = getattr(_torture_peers, adapter)
        assert BufferAdapter in found.__mro__, name
        assert found.__doc__, name
        assert found.load.__qualname__ != "BufferAdapter.load", f"{name} would be imported again in every process"


def test_what_was_wrong_is_printed_and_every_outcome_kept(capsys: pytest.CaptureFixture[str]) -> None:
    ran = [Result(CASES[0], "wrong answer", "taken without a word", 0.25), Result(CASES[1], "pass", "", 0.5)]
    torture.print_details({"one": ran})
    printed = capsys.readouterr().out
    assert f"* {CASES[0].name}: wrong answer: taken without a word" in printed
    assert CASES[1].name not in printed
    written = torture.as_json({"one": ran}, {"other": "not installed"})
    assert written["results"] == {
        "one": [
            {"case": CASES[0].name, "outcome": "wrong answer", "detail": "taken without a word", "took_s": 0.25},
            {"case": CASES[1].name, "outcome": "pass", "detail": "", "took_s": 0.5},
        ]
    }
    assert written["not_run"] == {"other": "not installed"}
    assert len(written["cases"]) == len(CASES)


def test_an_unknown_buffer_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        torture.arguments(["--only", "nobody"])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
