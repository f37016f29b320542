"""Each file of examples/ runs as a reader runs it: by itself, in an empty folder, without a network, and soon done."""

from pathlib import Path

import nbformat
import pytest

from .running import ROOT, run

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted(path.name for path in (ROOT / "examples").glob("*.ipynb"))
# eight seconds of a machine that has nothing else to do; hyperthreads and neighbours make them count for up to thrice
MOST_CPU_S = 24.0
EXECUTE = """
import sys
import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", ()):
        print(output["text"] if output["output_type"] == "stream" else output, end="")
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_says_what_came_of_it(name: str, empty: Path) -> None:
    done = run(empty, "-W", "error::DeprecationWarning:__main__", str(ROOT / "examples" / name))
    assert done.code == 0, done.complaints
    assert done.printed.strip(), "it prints nothing"
    assert done.cpu_s < MOST_CPU_S, f"it takes {done.cpu_s:.1f} s"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_says_what_came_of_it(name: str, empty: Path) -> None:
    done = run(empty, "-c", EXECUTE, str(ROOT / "examples" / name))
    assert done.code == 0, done.complaints
    assert "result:" in done.printed
    assert done.cpu_s < MOST_CPU_S, f"it takes {done.cpu_s:.1f} s"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_what_it_printed(name: str) -> None:
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


def test_a_page_leads_to_each_example() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert [name for name in (*EXAMPLES, *NOTEBOOKS) if f"(../examples/{name})" not in pages] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)", "reaches for the network"),
        ("import urllib.request as u; u.urlopen('http://example.org/')", "reaches for the network"),
        ("raise SystemExit('planted')", "planted"),
    ],
)
def test_one_that_fails_or_reaches_out_is_seen(code: str, told: str, empty: Path) -> None:
    done = run(empty, "-c", code)
    assert done.code != 0
    assert told in done.complaints


def test_one_that_talks_to_itself_is_let(empty: Path) -> None:
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(('localhost', s.getsockname()[1])).close(); print('talked')"
    )
    assert run(empty, "-c", code)[:2] == (0, "talked\n")
