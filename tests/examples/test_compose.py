"""The files for docker compose hold together. Nothing is started: no image is fetched."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dwell.cli.program import program
from dwell.config import read_config

from ..e2e.prometheus import promtool  # noqa: TID252 - tests are no installed package

PINNED = re.compile(r"^[\w./-]+:v?\d+(?:\.\d+)+(?:-[\w.-]+)?$")
BUILT = "dwell:local"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "examples" / "compose"


@pytest.fixture
def composed(folder: Path) -> Any:
    return yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))


def wrong_with(composed: Any, folder: Path) -> list[str]:
    """Return what is wrong with a composition."""
    found = []
    for name, service in composed["services"].items():
        if service["image"] != BUILT and not PINNED.match(service["image"]):
            found.append(f"{name}: the image {service['image']} is not pinned")
        found += [f"{name}: {port} is open to others" for port in service.get("ports", ()) if "127.0.0.1:" not in port]
        if "healthcheck" not in service and service.get("restart") != "no":
            found.append(f"{name}: nothing says whether it is well")
        for other, needed in service.get("depends_on", {}).items():
            is_watched = "healthcheck" in composed["services"].get(other, {})
            if needed["condition"] == "service_healthy" and not is_watched:
                found.append(f"{name}: waits for {other}, which never says that it is well")
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            is_there = (
                (folder / source).resolve().is_file() if source.startswith(".") else source in composed["volumes"]
            )
            found += [] if is_there else [f"{name}: {source} is not there"]
            found += (
                [f"{name}: {mount} can be written to"] if source.startswith(".") and not mount.endswith(":ro") else []
            )
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|PEPPER", key) and not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value):
                found.append(f"{name}: {key} is written down")
    return found


def test_the_composition_is_sound(composed: Any, folder: Path) -> None:
    assert wrong_with(composed, folder) == []
    assert set(composed["services"]) == {"postgres", "dwell", "key", "prometheus", "grafana"}


@pytest.mark.parametrize(
    ("service", "change", "told"),
    [
        ("postgres", {"image": "postgres:latest"}, "is not pinned"),
        ("postgres", {"image": "postgres"}, "is not pinned"),
        ("dwell", {"ports": ["8765:8765"]}, "is open to others"),
        ("grafana", {"ports": ["0.0.0.0:3000:3000"]}, "is open to others"),
        ("prometheus", {"volumes": ["./gone.yml:/etc/prometheus/prometheus.yml:ro"]}, "is not there"),
        ("prometheus", {"volumes": ["./prometheus.yml:/etc/prometheus/prometheus.yml"]}, "can be written to"),
        ("dwell", {"environment": {"PGPASSWORD": "a word"}}, "is written down"),
        ("dwell", {"depends_on": {"key": {"condition": "service_healthy"}}}, "never says that it is well"),
        ("dwell", {"restart": "always", "healthcheck": None}, "whether it is well"),
    ],
)
def test_what_is_wrong_is_seen(composed: Any, folder: Path, service: str, change: dict[str, Any], told: str) -> None:
    broken = copy.deepcopy(composed)
    broken["services"][service] |= change
    broken["services"][service] = {k: v for k, v in broken["services"][service].items() if v is not None}
    assert any(told in one for one in wrong_with(broken, folder)), wrong_with(broken, folder)


def test_the_commands_and_the_settings_are_ours(composed: Any, folder: Path) -> None:
    _, *arguments = composed["services"]["dwell"]["command"]
    given = program.commands["serve"].make_context("serve", list(arguments)).params
    assert given["config_path"] in {mount.split(":")[1] for mount in composed["services"]["dwell"]["volumes"]}
    config = read_config(folder / "dwell.toml", {})
    assert config.store.where.startswith("postgresql://dwell@postgres/")
    assert set(config.store.weights) == set(config.store.features)
    (script,) = composed["services"]["key"]["command"]
    created = re.search(r"dwell keys create (.+) > ", script)
    assert created
    keys: Any = program.commands["keys"]
    made = keys.commands["create"].make_context("create", created[1].split()).params
    assert (made["kind"], made["store"]) == ("admin", config.store.where)


def test_every_secret_that_is_asked_for_stands_empty_in_the_example_of_the_environment(folder: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (folder / "compose.yaml").read_text(encoding="utf-8")))
    lines = (folder / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line.rstrip("=") for line in lines if line and not line.startswith("#")} == asked


def test_prometheus_scrapes_what_is_served_with_the_key_that_is_made(composed: Any, folder: Path, root: Path) -> None:
    told = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    ours = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,), (theirs,) = told["scrape_configs"], ours["scrape_configs"]
    assert (job["job_name"], told["rule_files"]) == (theirs["job_name"], ours["rule_files"])
    assert job["static_configs"] == [{"targets": ["dwell:8765"]}]
    mounts = dict(mount.split(":")[:2] for mount in composed["services"]["prometheus"]["volumes"])
    assert job["authorization"]["credentials_file"] == f"{mounts['keys']}/prometheus.key"
    assert mounts["../../deploy/prometheus/dwell.rules.yml"] == "/etc/prometheus/dwell.rules.yml"


def test_promtool_takes_the_configuration(folder: Path) -> None:
    code, said = promtool("check", "config", "--syntax-only", "prometheus.yml", cwd=folder)
    assert code == 0, said


def test_grafana_finds_prometheus_and_the_dashboard(composed: Any, folder: Path) -> None:
    (source,) = yaml.safe_load((folder / "grafana" / "datasources.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    (provider,) = yaml.safe_load((folder / "grafana" / "dashboards.yml").read_text(encoding="utf-8"))["providers"]
    mounts = dict(mount.split(":")[:2] for mount in composed["services"]["grafana"]["volumes"])
    # what it asks for is what is exported: tests/e2e/test_deploy.py
    assert Path(mounts["../../deploy/grafana/dwell.json"]).parent == Path(provider["options"]["path"])


def test_the_image_is_made_of_what_its_context_holds(folder: Path, root: Path) -> None:
    lines = (folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert PINNED.match(lines[1].removeprefix("FROM "))
    kept = (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert {"*", *(f"!{name}" for name in copied)} == set(kept)
    assert all((root / name).exists() for name in copied)
