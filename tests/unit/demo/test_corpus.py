"""The corpus: docstrings as an independent reader finds them, and folders with everything that folders hold."""

import ast
import inspect
import os
import subprocess
import sys
import sysconfig
import unicodedata
from pathlib import Path

import pytest

from dwell.demo.corpus import folder, python_documentation
from dwell.demo.documents import Corpus, Document, sentences, summary_of
from dwell.demo.links import with_links
from dwell.errors import ConfigError
from dwell.records.checks import identifier


@pytest.fixture(scope="module")
def python() -> Corpus:
    return python_documentation()


def ast_docstrings(source: str, module: str) -> dict[str, str]:
    """Read public docstrings from the syntax tree: another way to the same."""
    found: dict[str, str] = {}

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
        docstring = ast.get_docstring(node)
        if docstring and docstring.strip():
            found[name] = docstring.strip()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for child in scope_children(node):
                if not child.name.startswith("_"):
                    visit(child, f"{name}.{child.name}")

    visit(ast.parse(source), module)
    return found


def scope_children(node: ast.AST) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Classes and functions of this scope, those under `if` and `try` included."""
    found: list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(child)
        elif not isinstance(child, ast.Lambda):
            found.extend(scope_children(child))
    return found


@pytest.mark.parametrize(
    "module", ["textwrap", "typing", "contextlib", "asyncio.queues", "difflib", "heapq", "graphlib", "shutil"]
)
def test_docstrings_are_those_of_the_syntax_tree(python: Corpus, module: str) -> None:
    path = Path(sysconfig.get_path("stdlib"), *module.split(".")).with_suffix(".py")
    expected = ast_docstrings(path.read_text(encoding="utf-8"), module)
    assert len(expected) > 3
    bodies = {document.doc_id: document.body for document in python.documents}
    all_bodies = {" ".join(body.split()) for body in bodies.values()}
    for name, docstring in expected.items():
        # A docstring that another entry has word for word is kept once, under the first name.
        assert inspect.cleandoc(docstring).endswith(bodies.get(name, "")), name
        if name not in bodies:
            assert " ".join(docstring.split()) in all_bodies, name


def test_documents_are_legal_distinct_and_in_order(python: Corpus) -> None:
    ids = [document.doc_id for document in python.documents]
    assert len(ids) > 2_000
    assert ids == sorted(set(ids))
    assert all(identifier(doc_id, "doc_id") == doc_id for doc_id in ids)
    bodies = [" ".join(document.body.split()) for document in python.documents]
    assert len(set(bodies)) == len(bodies)
    assert all(bodies)
    assert all(
        document.summary and document.summary in " ".join(document.body.split()) for document in python.documents
    )


def test_extension_modules_builtins_and_topics_are_there(python: Corpus) -> None:
    ids = {document.doc_id for document in python.documents}
    assert {"itertools.chain", "str.startswith", "math.gcd", "zlib.crc32", "topics/with"} <= ids


def test_links_lead_to_other_documents(python: Corpus) -> None:
    ids = {document.doc_id for document in python.documents}
    assert sum(len(document.links) for document in python.documents) > 500
    for document in python.documents:
        assert set(document.links) <= ids - {document.doc_id}


def test_it_is_the_same_whoever_runs_it(python: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks, debuggers and test runners put hooks of their own into `sys`."""

    def hook(*_: object) -> None:
        """Answer for somebody else's hook."""

    for name in ("excepthook", "unraisablehook", "displayhook", "breakpointhook"):
        monkeypatch.setattr(sys, name, hook)
    assert python_documentation() == python
    described = {document.doc_id for document in python.documents}
    assert {"sys.excepthook", "sys.unraisablehook", "sys.displayhook"} <= described


def test_it_is_the_same_in_another_process_and_runs_no_module_of_the_library() -> None:
    script = (
        "import sys, hashlib; before = set(sys.modules)\n"
        "from dwell.demo.corpus import python_documentation as read\n"
        "known = set(sys.modules); text = repr(read()).encode()\n"
        "new = {n.partition('.')[0] for n in set(sys.modules) - known}\n"
        "assert not new & {'antigravity', 'this', 'tkinter', 'turtle', 'idlelib', 'test', 'unittest', 'http'}, new\n"
        "print(hashlib.sha256(text).hexdigest())\n"
    )
    outputs = []
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(ran.stdout)
    assert outputs[0] == outputs[1] != ""


# -------------------------------------------------------------------------------- sentences and links


def test_sentences_end_where_they_end() -> None:
    text = "Open a file, e.g. one on disk. Close it! \n\nNo full stop here\n\n 3 more. done"
    assert [text[start:end] for start, end in sentences(text)] == [
        "Open a file, e.g. one on disk.",
        "Close it!",
        "No full stop here",
        "3 more. done",
    ]
    assert summary_of("Two\n  lines of one. And more.") == "Two lines of one."
    assert summary_of(" \n ") == ""


def entry(name: str, body: str) -> Document:
    return Document(name, name, body, summary_of(body))


def links(documents: list[Document]) -> dict[str, tuple[str, ...]]:
    return {document.doc_id: document.links for document in with_links(documents)}


def test_a_name_counts_where_it_is_written_as_code() -> None:
    found = links(
        [
            entry("pkg.open", "See close and list: plain words."),
            entry("pkg.close", "See open() and `listing`."),
            entry("pkg.listing", "See pkg.open, and CamelCase, and under_score."),
            entry("other.CamelCase", "x"),
            entry("other.under_score", "x y"),
        ]
    )
    assert found["pkg.open"] == ()
    assert found["pkg.close"] == ("pkg.listing", "pkg.open")
    assert found["pkg.listing"] == ("other.CamelCase", "other.under_score", "pkg.open")


def test_a_name_is_resolved_in_its_own_scope_first_and_ambiguous_ones_not_at_all() -> None:
    found = links(
        [
            entry("a.Queue.put", "Undoes get()."),
            entry("a.Queue.get", "Undoes put(). Never mind put() of others."),
            entry("b.Queue.get", "Calls put(), which is nowhere in b."),
            entry("b.Pool.put", "x"),
        ]
    )
    assert found["a.Queue.put"] == ("a.Queue.get",)
    assert found["a.Queue.get"] == ("a.Queue.put",)
    assert found["b.Queue.get"] == ()


# -------------------------------------------------------------------------------- folder


def test_a_folder_gives_a_document_per_section(tmp_path: Path) -> None:
    words = "word " * 25
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "start.md").write_text(
        f"# Guide\n\n{words}start.\n\n## Install\n\n{words}install.\n\n```\n# no heading\n```\n\n## Tiny\n\nShort.\n"
    )
    (tmp_path / "notes.rst").write_text(f"Notes\n=====\n\n{words}notes, see.\n\nMore\n----\n\n{words}more.\n")
    (tmp_path / "plain.txt").write_text("Only one line of text.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.md").write_text("secret")
    corpus = folder(tmp_path)
    assert {document.doc_id: document.title for document in corpus.documents} == {
        "guide/start.md": "Guide",
        "guide/start.md#install": "Guide: Install",
        "notes.rst": "Notes",
        "notes.rst#more": "Notes: More",
        "plain.txt": "plain",
    }
    install = next(document for document in corpus.documents if document.doc_id.endswith("#install"))
    assert "# no heading" in install.body
    assert install.body.endswith("Tiny\n\nShort.")
    assert install.modified_at == pytest.approx((tmp_path / "guide" / "start.md").stat().st_mtime)
    assert corpus.skipped == ()


def test_markdown_links_lead_to_files_and_sections(tmp_path: Path) -> None:
    words = "word " * 25
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text(f"# A\n\n{words}\n\n## Part\n\n{words} part, see [this](sub/b.md).\n")
    (tmp_path / "sub" / "b.md").write_text("# B\n\nSee [the part](../a.md#part) and [nothing](../../x.md).\n")
    found = {document.doc_id: document.links for document in folder(tmp_path).documents}
    assert found == {"a.md": (), "a.md#part": ("sub/b.md",), "sub/b.md": ("a.md#part",)}


def test_what_can_not_be_read_is_named_with_its_reason(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.md").write_text("Not yours.")
    (inside / "good.md").write_text("Good text here.")
    (inside / "latin.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    (inside / "binary.txt").write_bytes(b"a\0b")
    (inside / "large.txt").write_text("x" * 101)
    (inside / "utf16.txt").write_bytes("Wide text.".encode("utf-16"))
    (inside / "leak.md").symlink_to(outside / "secret.md")
    (inside / "leaks").symlink_to(outside)
    (inside / "dangling.md").symlink_to(inside / "absent.md")
    corpus = folder(inside, max_file_bytes=100)
    assert [(document.doc_id, document.body) for document in corpus.documents] == [
        ("good.md", "Good text here."),
        ("utf16.txt", "Wide text."),
    ]
    reasons = {skipped.name: skipped.reason for skipped in corpus.skipped}
    assert set(reasons) == {"latin.txt", "binary.txt", "large.txt", "leak.md", "dangling.md"}
    assert "utf-8 at byte 3" in reasons["latin.txt"]
    assert "out of the folder" in reasons["leak.md"]
    assert "100 bytes" in reasons["large.txt"]
    named = folder(inside, max_file_bytes=100, encoding="latin-1")
    assert "caf\xe9 au lait" in {document.body for document in named.documents}


def test_strange_file_names_become_legal_ids(tmp_path: Path) -> None:
    for name in ("a\nb.md", "e\u0301.md", os.fsdecode(b"\xff.md"), "n" * 240 + ".md"):
        (tmp_path / name).write_text(f"Text of {len(name)} {name[0].encode('unicode_escape').decode()}.")
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / ("f" * 200 + ".md")).write_text("Deep text.")
    ids = [document.doc_id for document in folder(tmp_path).documents]
    assert len(ids) == 5
    for doc_id in ids:
        assert identifier(doc_id, "doc_id") == doc_id
        assert not any(unicodedata.category(character) == "Cc" for character in doc_id)


def test_an_empty_or_absent_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        folder(tmp_path / "absent")
    with pytest.raises(ConfigError, match="no readable text") as caught:
        folder(tmp_path)
    assert caught.value.field == "corpus"
    (tmp_path / "x.txt").write_bytes(b"\0")
    with pytest.raises(ConfigError, match=r"1 files skipped, the first \(x\.txt\) because it is binary"):
        folder(tmp_path)
    with pytest.raises(ConfigError, match="max_file_bytes"):
        folder(tmp_path, max_file_bytes=0)
    with pytest.raises(ConfigError, match="no such encoding"):
        folder(tmp_path, encoding="utf-9")
