"""The files for Prometheus and Grafana: sound, tested, and about what we export."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dwell.server.metrics import exposition

from .prometheus import house_at, promtool

NAME = re.compile(r"\bdwell_[a-z_]+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",), "gauge": ("",)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that a scrape may hold, samples or none."""
    with house_at(tmp_path_factory.mktemp("exported")) as house:
        families = list(text_string_to_metric_families(exposition(house, 2_000.0).decode()))
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


@pytest.fixture
def rules(root: Path, tmp_path: Path) -> Path:
    """A copy of the rules and their tests, to break."""
    shutil.copytree(root / "deploy" / "prometheus", tmp_path / "prometheus")
    return tmp_path / "prometheus"


@pytest.fixture
def board(root: Path) -> Any:
    return json.loads((root / "deploy" / "grafana" / "dwell.json").read_text(encoding="utf-8"))


def alerts_of(path: Path) -> dict[str, Any]:
    found = yaml.safe_load((path / "dwell.rules.yml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in found["groups"] for rule in group["rules"]}


def test_promtool_takes_the_rules_and_their_tests_pass(rules: Path) -> None:
    code, said = promtool("check", "rules", "dwell.rules.yml", cwd=rules)
    assert (code, f"{len(alerts_of(rules))} rules found" in said) == (0, True), said
    code, said = promtool("test", "rules", "dwell.rules.test.yml", cwd=rules)
    assert code == 0, said


def test_promtool_takes_the_configuration(rules: Path) -> None:
    code, said = promtool("check", "config", "--syntax-only", "prometheus.yml", cwd=rules)
    assert code == 0, said
    path = rules / "prometheus.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("scrape_interval", "scrape_intervall"), encoding="utf-8")
    code, said = promtool("check", "config", "--syntax-only", "prometheus.yml", cwd=rules)
    assert code != 0
    assert "scrape_intervall" in said


def test_a_broken_rule_and_a_wrong_threshold_are_seen(rules: Path) -> None:
    path = rules / "dwell.rules.yml"
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace("dwell_learner_up == 0", "dwell_learner_up == == 0"), encoding="utf-8")
    code, said = promtool("check", "rules", "dwell.rules.yml", cwd=rules)
    assert code != 0
    assert "could not parse expression" in said
    assert sound.count("> 0.05") == 1
    path.write_text(sound.replace("> 0.05", "> 0.5"), encoding="utf-8")
    code, said = promtool("test", "rules", "dwell.rules.test.yml", cwd=rules)
    assert code != 0
    assert "DwellRejected" in said


def test_each_rule_says_what_it_sees_and_what_to_do_and_was_seen_firing_and_silent(rules: Path) -> None:
    tested = yaml.safe_load((rules / "dwell.rules.test.yml").read_text(encoding="utf-8"))["tests"]
    expected = [one for test in tested for one in test["alert_rule_test"]]
    for name, rule in alerts_of(rules).items():
        assert set(rule["annotations"]) == {"summary", "description", "remedy"}, name
        assert rule["labels"]["severity"] in {"warning", "critical", "{{ $labels.severity }}"}, name
        seen = {bool(one["exp_alerts"]) for one in expected if one["alertname"] == name}
        assert seen == {True, False}, f"{name} was not seen both ways"


def test_the_rules_are_about_what_is_exported(rules: Path, exported: set[str]) -> None:
    for name, rule in alerts_of(rules).items():
        assert set(NAME.findall(rule["expr"])) <= exported, name
    series = re.findall(r"series: '(dwell_[a-z_]+)", (rules / "dwell.rules.test.yml").read_text(encoding="utf-8"))
    assert set(series) <= exported


def panels_of(board: Any) -> Iterator[Any]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def wrong_with(board: Any, exported: set[str]) -> list[str]:
    """Return what is wrong with a dashboard."""
    found = []
    ids = [panel["id"] for panel in panels_of(board)]
    found += [f"two panels have the id {one}" for one in sorted({one for one in ids if ids.count(one) > 1})]
    cells: dict[tuple[int, int], str] = {}
    for panel in panels_of(board):
        title, at = panel["title"], panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell[0] >= 24 or cells.setdefault(cell, title) != title:
                found.append(f"{title} lies over {cells.get(cell)}, or beyond the edge")
        if panel["type"] == "row":
            continue
        if not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
            found.append(f"{title} does not say what it shows, or in which unit")
        if panel["datasource"]["uid"] != "${datasource}":
            found.append(f"{title} has a data source of its own")
        for target in panel["targets"]:
            found += [f"{title} asks for {name}" for name in set(NAME.findall(target["expr"])) - exported]
    return found


def test_the_dashboard_asks_for_what_is_exported_and_lies_in_order(board: Any, exported: set[str]) -> None:
    assert wrong_with(board, exported) == []
    for variable in board["templating"]["list"]:
        assert set(NAME.findall(json.dumps(variable))) <= exported
    assert set(NAME.findall(json.dumps(board["annotations"]))) <= exported


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": 1}, "two panels have the id 1"),
        ({"targets": [{"expr": "rate(dwell_no_such_total[5m])"}]}, "asks for dwell_no_such_total"),
        ({"gridPos": {"x": 20, "y": 0, "w": 8, "h": 4}}, "beyond the edge"),
        ({"description": ""}, "does not say what it shows"),
    ],
)
def test_a_dashboard_that_is_wrong_is_seen(board: Any, exported: set[str], change: Any, said: str) -> None:
    broken = copy.deepcopy(board)
    broken["panels"][5] |= change
    assert any(said in one for one in wrong_with(broken, exported))


def test_every_metric_that_is_exported_is_looked_at(root: Path, board: Any, rules: Path, exported: set[str]) -> None:
    """What nobody looks at is not worth its place, but for names and instants."""
    shown = set(NAME.findall(json.dumps(board) + (rules / "dwell.rules.yml").read_text(encoding="utf-8")))
    told = (root / "docs" / "monitoring.md").read_text(encoding="utf-8")
    unseen = {name for name in exported if not name.endswith(("_sum", "_count"))} - shown
    assert unseen == {"dwell_active_version_info", "dwell_info", "dwell_started_at_seconds"}
    names = {re.sub("_(sum|count|bucket)$", "", name) for name in exported}
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []


def test_prometheus_can_read_every_question(board: Any, tmp_path: Path) -> None:
    values = {"$job": "dwell", "$instance": ".*", "$tenant": ".*", "$__rate_interval": "5m"}
    asked = [target["expr"] for panel in panels_of(board) for target in panel.get("targets", ())]
    asked += [one["expr"] for one in board["annotations"]["list"]]
    for name, value in values.items():
        asked = [one.replace(name, value) for one in asked]
    records = [{"record": f"asked:{i}", "expr": one} for i, one in enumerate(asked)]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": records}]}), encoding="utf-8")
    code, said = promtool("check", "rules", str(path))
    assert (code, f"{len(asked)} rules found" in said) == (0, True), said


def test_without_promtool_it_is_skipped_and_where_gates_are_required_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DWELL_GATES", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"system_packages\.sh"):
        promtool("--version")
    monkeypatch.setenv("DWELL_GATES", "required")
    with pytest.raises(pytest.fail.Exception, match="need promtool"):
        promtool("--version")
