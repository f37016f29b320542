"""Every code block that a reader may copy is run, page by page, top to bottom, in an empty folder.

| fence | what happens |
|---|---|
| `python` | runs in the page's one namespace |
| `text output` | is compared with what the `python` block before it printed |
| `pycon` | runs as a doctest in the same namespace |
| `console` | each `$ dwell ...` line is run as a process: it must exit 0, and print what is shown below it, if any |
| `console no-run` | is not run |
| `console served` | is run against a real `dwell serve` by tests/e2e/test_service_docs.py |

`...` in shown output stands for any text; runs of white space are equal.
"""

import contextlib
import doctest
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "docs.py"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXECUTED = ("python", "pycon", "console")


def executed_pages() -> list[str]:
    """Name the pages of README.md and docs/ that hold something to run."""
    pages = [path for path in SCRIPT["pages"](ROOT) if path.name == "README.md" or path.parent != ROOT]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in pages}
    return [name for name, text in texts.items() if any(block.language in EXECUTED for block in SCRIPT["fences"](text))]


def assert_shown(shown: str, printed: str, where: str) -> None:
    """Fail unless the shown output matches, `...` standing for anything."""
    matches = doctest.OutputChecker().check_output(shown.strip() + "\n", printed.strip() + "\n", FLAGS)
    assert matches, f"{where}: the page shows\n{shown}\nbut it printed\n{printed}"


class Page:
    """One page being run: its name, the namespace of its Python, what was printed last."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.printed = ""

    def run(self, text: str) -> None:
        """Run every block of the page."""
        for block in SCRIPT["fences"](text):
            where = f"{self.name}:{block.line}"
            if block.language == "python":
                self.run_python(block.text, block.line)
            elif block.language == "text" and "output" in block.flags:
                assert_shown(block.text, self.printed, where)
            elif block.language == "pycon":
                self.run_doctest(block.text, block.line)
            elif block.language == "console" and not {"no-run", "served"} & set(block.flags):
                self.run_commands(block.text, where)

    def run_python(self, text: str, line: int) -> None:
        """Run a block; a traceback shows the page's own line numbers."""
        printed = io.StringIO()
        code = compile("\n" * line + text, self.name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, self.namespace)  # noqa: S102 - running it is the test
        self.printed = printed.getvalue()

    def run_doctest(self, text: str, line: int) -> None:
        """Run a session; the failures are the message."""
        session = doctest.DocTestParser().get_doctest(text, {}, self.name, self.name, line)
        session.globs = self.namespace
        report = io.StringIO()
        failed, attempted = doctest.DocTestRunner(optionflags=FLAGS).run(session, out=report.write, clear_globs=False)
        assert attempted, f"{self.name}:{line}: a pycon block without a >>> line"
        assert not failed, report.getvalue()

    def run_commands(self, text: str, where: str) -> None:
        """Run each `$ dwell` line; other commands are left to the reader."""
        for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
            command, _, shown = part.replace("\\\n", " ").partition("\n")
            words = shlex.split(command.removeprefix("$ "), comments=True)
            if not part.startswith("$ ") or words[:1] != ["dwell"]:
                continue
            done = SCRIPT["dwell"](*words[1:], cwd=self.folder)
            assert done.returncode == 0, f"{where}: {command}\n{done.stdout}"
            if shown.strip():
                assert_shown(shown, done.stdout, f"{where}: {command}")


@pytest.mark.parametrize("name", executed_pages())
def test_every_block_of_the_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Page(name, tmp_path).run((ROOT / name).read_text(encoding="utf-8"))


def test_the_readme_shows_code_by_line_20() -> None:
    blocks = SCRIPT["fences"]((ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks, "README.md shows no code"
    assert blocks[0].line <= 20


def test_the_readme_is_one_of_the_pages_that_are_run() -> None:
    assert "README.md" in executed_pages()
