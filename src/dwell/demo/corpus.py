"""Real text to search in the demo: the documentation of the Python that runs it, or any folder of text.

Reading is safe. A module written in Python is compiled (or its byte code loaded) and *never run*: its docstrings are
read from the code object. Only extension modules of a fixed list are imported, because nothing else holds their
docstrings. Nothing is written, not even byte code.
"""

import codecs
import hashlib
import importlib
import inspect
import os
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from itertools import islice
from pathlib import Path

from dwell.demo.documents import Corpus, Document, Skipped, summary_of
from dwell.demo.links import with_links
from dwell.demo.sections import sections_of
from dwell.errors import ConfigError
from dwell.records.checks import MAX_ID_BYTES

#: Folders and modules of the standard library that are no documentation of it (tests, vendored tools, jokes), that
#: repeat another module in another language (`_pyio` and `_pydecimal` document what `io` and `decimal` export), or
#: that would drown the rest (`tkinter`: 700 option methods that differ in one word).
_EXCLUDED = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "idle_test",
        "lib2to3",
        "site-packages",
        "dist-packages",
        "turtledemo",
        "turtle",
        "ensurepip",
        "encodings",
        "pydoc_data",
        "tkinter",
        "distutils",
        "this",
        "antigravity",
        "__pycache__",
        "__phello__",
        "__hello__",
    }
)

#: Extension modules whose docstrings stand in no source file, with the public module that exports them. Importing
#: these opens no window, socket or file and prints nothing.
_EXTENSIONS: Mapping[str, str] = {
    "_bisect": "bisect",
    "_bz2": "bz2",
    "_codecs": "codecs",
    "_collections": "collections",
    "_contextvars": "contextvars",
    "_csv": "csv",
    "_datetime": "datetime",
    "_decimal": "decimal",
    "_functools": "functools",
    "_hashlib": "hashlib",
    "_heapq": "heapq",
    "_io": "io",
    "_json": "json",
    "_lzma": "lzma",
    "_operator": "operator",
    "_pickle": "pickle",
    "_queue": "queue",
    "_random": "random",
    "_socket": "socket",
    "_sqlite3": "sqlite3",
    "_sre": "re",
    "_ssl": "ssl",
    "_struct": "struct",
    "_thread": "threading",
    "_tracemalloc": "tracemalloc",
    "_weakref": "weakref",
    "array": "array",
    "atexit": "atexit",
    "binascii": "binascii",
    "builtins": "builtins",
    "cmath": "cmath",
    "errno": "errno",
    "fcntl": "fcntl",
    "gc": "gc",
    "grp": "grp",
    "itertools": "itertools",
    "marshal": "marshal",
    "math": "math",
    "mmap": "mmap",
    "posix": "os",
    "pwd": "pwd",
    "resource": "resource",
    "select": "select",
    "signal": "signal",
    "sys": "sys",
    "termios": "termios",
    "time": "time",
    "unicodedata": "unicodedata",
    "zlib": "zlib",
}

#: Suffixes that `folder` reads.
TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst"})


#: `name(...) -> type` on a line of its own: the signature that older extension modules put before their docstring.
_SIGNATURE = re.compile(r"\A(?:[\w.]+\([^\n]*\)(?:[ ]*->[^\n]*)?[ ]*(?:\n|\Z))+\s*")

# ------------------------------------------------------------------------------------------ the documentation of Python


class _ReadOnlyLoader(SourceFileLoader):
    """Loads byte code where it is fresh and compiles otherwise; never writes byte code back."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        """Writes nothing: reading documentation must not change the installation."""


def _compiled(path: Path, module: str) -> types.CodeType | None:
    """The code object of a source file, not run; None if it does not compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody else's source is not our warning
            if sys.flags.optimize >= 2:  # -OO strips docstrings from byte code, so read the source
                return compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=0)
            return _ReadOnlyLoader(module, str(path)).get_code(module)
    except (SyntaxError, ValueError, OSError, ImportError):
        return None


def _body_docstring(code: types.CodeType) -> str | None:
    """The docstring of a module or class body: the constant that its first instructions store under `__doc__`."""
    import dis

    if "__doc__" not in code.co_names:
        return None
    value: object = None
    for instruction in islice(dis.get_instructions(code), 24):  # __module__, __qualname__ and bookkeeping come first
        if instruction.opname.startswith("LOAD_CONST"):
            value = instruction.argval
        elif instruction.opname == "STORE_NAME" and instruction.argval == "__doc__":
            return value if isinstance(value, str) else None
    return None


def _docstrings(code: types.CodeType, name: str) -> Iterator[tuple[str, str]]:
    """(dotted name, raw docstring) of a body and of the public classes, methods and functions in it."""
    own = _body_docstring(code)
    if own is not None:
        yield name, own
    for inner in _definitions(code):
        child = f"{name}.{inner.co_name}"
        if inner.co_flags & inspect.CO_OPTIMIZED:
            cells = tuple(types.CellType() for _ in inner.co_freevars)
            docstring = types.FunctionType(inner, {}, closure=cells).__doc__  # made, never called
            if docstring is not None:
                yield child, docstring
        else:
            yield from _docstrings(inner, child)


def _definitions(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if not isinstance(constant, types.CodeType):
            continue
        if constant.co_name.startswith("<generic parameters of "):  # class C[T] and def f[T] stand one level down
            yield from _definitions(constant)
        elif not constant.co_name.startswith(("_", "<")):
            yield constant


def _source_docstrings(root: Path) -> Iterator[tuple[str, str]]:
    for folder_name, folder_names, file_names in os.walk(root):
        folder_names[:] = sorted(n for n in folder_names if n not in _EXCLUDED and n.isidentifier() and n[0] != "_")
        inside = Path(folder_name).relative_to(root).parts
        for file_name in sorted(file_names):
            stem = file_name.removesuffix(".py")
            if stem == file_name or stem in _EXCLUDED or (stem[0] == "_" and stem != "__init__"):
                continue
            module = ".".join([*inside, *([] if stem == "__init__" else [stem])])
            code = _compiled(Path(folder_name) / file_name, module) if module else None
            if code is not None:
                yield from _docstrings(code, module)


def _extension_docstrings() -> Iterator[tuple[str, str]]:
    for extension, public in sorted(_EXTENSIONS.items()):
        try:
            module = importlib.import_module(extension)
        except ImportError:  # not built on this platform
            continue
        prefix = "" if public == "builtins" else f"{public}."
        for name, found in sorted(vars(module).items()):
            if name.startswith("_") or not callable(found):
                continue
            # who runs us may have replaced a hook of `sys`; the original stands beside it as `__excepthook__`
            original = vars(module).get(f"__{name}__")
            value = original if callable(original) else found
            yield from _documented(f"{prefix}{name}", value)
            members = vars(value) if isinstance(value, type) else {}
            for member, described in sorted(members.items()):
                if not member.startswith("_") and callable(described):
                    yield from _documented(f"{prefix}{name}.{member}", described)


def _documented(name: str, value: object) -> Iterator[tuple[str, str]]:
    docstring = getattr(value, "__doc__", None)
    # An instance (a constant, an alias) shows its class's docstring, which the class already gave.
    if isinstance(docstring, str) and docstring != getattr(type(value), "__doc__", None):
        yield name, docstring


def _topic_sections() -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the language reference that `help()` shows."""
    try:
        topics: Mapping[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some distributions leave it out
        return
    for topic, text in sorted(topics.items()):
        yield from sections_of(f"topics/{topic}", topic, text)


def python_documentation(*, has_links: bool = True) -> Corpus:
    """The documentation of the running Python: docstrings of its standard library and the topics of `help()`.

    About 5,000 entries, the same ones in the same order every time on the same installation. No module of the
    standard library that is written in Python is run. `modified_at` is None throughout: a file's time there says
    when Python was installed, which is nothing about the text.

    Args:
        has_links: whether to find the links; without them it is faster, for who computes them anew anyway.

    Raises:
        ConfigError: this installation holds neither sources nor byte code nor topics.
    """
    root = Path(sysconfig.get_path("stdlib"))
    entries: dict[str, Document] = {}
    for name, docstring in [*_extension_docstrings(), *_source_docstrings(root)]:
        text = _SIGNATURE.sub("", inspect.cleandoc(docstring)).strip()
        if text:
            entries[name] = Document(_legal_id(name), name, text, summary_of(text))
    for doc_id, title, text in _topic_sections():
        entries[doc_id] = Document(_legal_id(doc_id), title, text, summary_of(text))
    if not entries:
        raise ConfigError(
            "this Python installation carries no documentation to read",
            hint="give a folder of text or Markdown instead: dwell demo --corpus DIR",
            field="corpus",
            value=str(root),
        )
    return Corpus(
        "the documentation of Python " + sys.version.split()[0], _finished(entries.values(), has_links=has_links)
    )


def _finished(documents: Iterable[Document], *, has_links: bool) -> tuple[Document, ...]:
    """In order of id, one of each body, with links or not. Of equal bodies a whole page is kept, not its section."""
    kept: dict[str, Document] = {}
    for document in sorted(documents, key=lambda entry: ("#" in entry.doc_id, entry.doc_id)):
        kept.setdefault(" ".join(document.body.split()), document)
    found = tuple(sorted(kept.values(), key=lambda entry: entry.doc_id))
    return with_links(found) if has_links else found


def _legal_id(text: str) -> str:
    """`text` as an id: control characters and unpaired surrogates escaped, and cut, with a digest, at 512 bytes."""
    escaped = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode("ascii") for c in text)
    encoded = escaped.encode()
    if len(encoded) <= MAX_ID_BYTES:
        return escaped
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    return encoded[: MAX_ID_BYTES - 17].decode(errors="ignore") + "~" + digest


# --------------------------------------------------------------------------------------------------------------- folder

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _decoded(raw: bytes, encoding: str | None) -> str:
    """The text of a file. Raises ValueError with the reason why it is none."""
    name = next((codec for mark, codec in _BYTE_ORDER_MARKS if raw.startswith(mark)), encoding or "utf-8")
    if b"\0" in raw and not name.startswith("utf-16"):
        raise ValueError("is binary: it holds NUL bytes")
    try:
        return raw.decode(name)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not valid {error.encoding} at byte {error.start}; name its encoding") from error


def _text_files(root: Path) -> Iterator[Path]:
    for folder_name, folder_names, file_names in os.walk(root, followlinks=False):
        folder_names[:] = sorted(name for name in folder_names if not name.startswith("."))
        for file_name in sorted(file_names):
            if Path(file_name).suffix.lower() in TEXT_SUFFIXES and not file_name.startswith("."):
                yield Path(folder_name) / file_name


def _read_file(path: Path, root: Path, *, max_file_bytes: int, encoding: str | None) -> tuple[str, float]:
    """(text, modified_at). Raises ValueError or OSError with the reason why it was not read."""
    if not path.resolve().is_relative_to(root):
        raise ValueError("is a link that leads out of the folder")
    with path.open("rb") as file:
        raw = file.read(max_file_bytes + 1)
        modified_at = os.fstat(file.fileno()).st_mtime
    if len(raw) > max_file_bytes:
        raise ValueError(f"is larger than {max_file_bytes} bytes (max_file_bytes)")
    return _decoded(raw, encoding), modified_at


def folder(
    path: str | Path, *, max_file_bytes: int = 2_000_000, encoding: str | None = None, has_links: bool = True
) -> Corpus:
    """The text, Markdown and reStructuredText files below a folder, one document per section under a heading.

    Hidden files and folders are left out. Links to folders are not followed, links to files only inside the folder.
    A file that can not be read as text is left out and named in `skipped` with its reason; nothing is replaced or
    guessed. `modified_at` is the file's.

    Args:
        path: the folder.
        max_file_bytes: larger files are skipped.
        encoding: of files without a byte order mark; None means UTF-8.
        has_links: whether to find the links; without them it is faster, for who computes them anew anyway.

    Raises:
        ConfigError: there is no such folder, the encoding is unknown, or nothing in the folder could be read.
    """
    root = Path(path)
    if not root.is_dir():
        raise ConfigError("the corpus is not a folder", hint="give an existing folder", field="corpus", value=str(path))
    if max_file_bytes < 1:
        raise ConfigError(
            "no file would be read", hint="give a positive size", field="max_file_bytes", value=max_file_bytes
        )
    if encoding is not None:
        _require_codec(encoding)
    root = root.resolve()
    found: list[Document] = []
    skipped: list[Skipped] = []
    for file in _text_files(root):
        name = _legal_id(os.fsencode(file.relative_to(root)).decode("utf-8", "surrogateescape").replace(os.sep, "/"))
        try:
            text, modified_at = _read_file(file, root, max_file_bytes=max_file_bytes, encoding=encoding)
        except (OSError, ValueError) as error:
            skipped.append(Skipped(name, error.strerror or str(error) if isinstance(error, OSError) else str(error)))
            continue
        for doc_id, title, body in sections_of(name, Path(name).stem, text):
            found.append(Document(_legal_id(doc_id), title, body, summary_of(body), modified_at=modified_at))
    if not found:
        raise ConfigError(
            f"the folder holds no readable text: {len(skipped)} files skipped{_first_reason(skipped)}",
            hint="put .txt, .md or .rst files there, or leave --corpus out to use the documentation of Python",
            field="corpus",
            value=str(path),
        )
    return Corpus(root.name, _finished(found, has_links=has_links), tuple(skipped))


def _first_reason(skipped: Sequence[Skipped]) -> str:
    return f", the first ({skipped[0].name}) because it {skipped[0].reason}" if skipped else ""


def _require_codec(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ConfigError(
            "Python knows no such encoding", hint="for example utf-8 or cp1252", field="encoding", value=encoding
        ) from error
