"""Documents from files, folders, standard input, or the Python installation itself.

`read_corpus(paths)` reads the user's text. `read_corpus([])` makes a first run possible without a
download: every Python installation has about two megabytes of English about programming, in the
docstrings of the standard library and in the language reference behind `help()`. They are read from
source files; no module is imported.

`split_documents` holds a part of the corpus out of training.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt.errors import UserError

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".jsonl")
"""The files that are read from a folder. A file that is named directly may have any suffix."""

MIN_STDLIB_BYTES = 200_000
"""With fewer bytes of docstrings (an installation without sources), only the help topics are used."""

MIN_DOCUMENTS_TO_HOLD_OUT_WHOLE = 20

# Above this share of undecodable sequences or of control characters, a file is not UTF-8 text at all.
_MAX_BAD_SHARE = 0.1
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """One text: a file, a line of a .jsonl file, or the docstrings of a module."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents, and a description of their origin.

    `size_bytes` and `sha256` describe the UTF-8 text of all documents, one after another; for a single
    well-formed file, `sha256sum` prints the same. `replaced_sequences` counts the byte sequences that
    were not valid UTF-8 and became U+FFFD.
    """

    documents: tuple[Document, ...]
    description: str
    sha256: str
    size_bytes: int
    file_count: int
    replaced_sequences: int


@dataclass(frozen=True, slots=True)
class Split:
    """The texts to train on, the texts to evaluate on, and the rule that divided them, in words."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]
    rule: str


def read_corpus(paths: Sequence[str] = ()) -> Corpus:
    """The documents in `paths`: files, folders (recursively), "-" (standard input); if none, Python's own.

    A .jsonl file has one document per line, under the key "text"; any other file is one document.
    Text is UTF-8; a byte-order mark is dropped, "\\r\\n" becomes "\\n", and sequences that are not
    UTF-8 become U+FFFD and are counted.

    Raises:  UserError: a path that is missing, empty or not text, or a malformed line of .jsonl.
    """
    if not paths:
        return _read_python_prose()
    documents: list[Document] = []
    file_count = replaced = 0
    for path in paths:
        for name, data in _files(path):
            text, count = _decode(data, name)
            documents += _documents(text, name)
            file_count += 1
            replaced += count
    if not documents:
        raise UserError(f"expected text, got only empty files in {', '.join(paths)}: give files with text")
    return _corpus(documents, ", ".join(paths), file_count, replaced)


def split_documents(corpus: Corpus, holdout: float = 0.1) -> Split:
    """Hold out about the share `holdout` of the text's bytes.

    With 20 documents or more, a whole document is held out if its SHA-256, read as a number in
    [0, 1), is below `holdout`. Adding or removing other documents does not move it. With fewer
    documents, or if the held-out share would be less than half or more than twice `holdout`, the end
    of each document is held out: its characters from int(n * (1 - holdout)) on.
    """
    if not 0.0 < holdout < 1.0:
        raise UserError(f"holdout: expected a share between 0 and 1, got {holdout}: use for instance 0.1")
    texts = [document.text for document in corpus.documents]
    if len(texts) >= MIN_DOCUMENTS_TO_HOLD_OUT_WHOLE:
        heldout = [text for text in texts if _hash_share(text) < holdout]
        share = _size_bytes(heldout) / corpus.size_bytes
        if holdout / 2 <= share <= min(2 * holdout, (1 + holdout) / 2):
            train = tuple(text for text in texts if _hash_share(text) >= holdout)
            rule = f"{len(heldout)} of {len(texts)} documents held out whole, by hash ({share:.1%} of the bytes)"
            return Split(train, tuple(heldout), rule)
    cuts = [int(len(text) * (1.0 - holdout)) for text in texts]
    train = tuple(text[:cut] for text, cut in zip(texts, cuts, strict=True) if cut > 0)
    tails = tuple(text[cut:] for text, cut in zip(texts, cuts, strict=True))
    if not train:
        raise UserError(f"expected text long enough to hold a part out, got {corpus.size_bytes} bytes: give more text")
    return Split(train, tails, f"last {holdout:.0%} of each document's characters held out")


def _hash_share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2.0**48


def _size_bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def _corpus(documents: Iterable[Document], origin: str, file_count: int, replaced: int) -> Corpus:
    kept = tuple(documents)
    digest, size_bytes = hashlib.sha256(), 0
    for document in kept:
        data = document.text.encode()
        digest.update(data)
        size_bytes += len(data)
    counts = f"{_count(file_count, 'file')}, {_count(len(kept), 'document')}, {size_bytes:,} bytes"
    description = f"{origin}: {counts}, SHA-256 {digest.hexdigest()}"
    if replaced:
        description += f"; {replaced:,} sequences were not UTF-8 and became U+FFFD"
    return Corpus(kept, description, digest.hexdigest(), size_bytes, file_count, replaced)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


# The user's own text


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """The name and content of each file that `path` means."""
    if path == "-":
        yield "standard input", _not_empty(sys.stdin.buffer.read(), "standard input")
    elif os.path.isdir(path):
        found = sorted(_text_files(Path(path)))
        if not found:
            raise UserError(f"expected a folder with text ({' '.join(TEXT_SUFFIXES)}), got none in {path}: name files")
        yield from ((str(file), _read_bytes(file)) for file in found)
    else:
        yield path, _not_empty(_read_bytes(Path(path)), path)


def _text_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(TEXT_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"expected a file or folder, got {path}, which does not exist: check the path") from None
    except OSError as error:
        raise UserError(f"expected a readable file, got {path}: {error.strerror}: check what it is") from None


def _not_empty(data: bytes, name: str) -> bytes:
    if not data.strip():
        raise UserError(f"expected text, got nothing in {name}: give a file with text")
    return data


def _decode(data: bytes, name: str) -> tuple[str, int]:
    """The text of `data`, and the number of its byte sequences that are not UTF-8."""
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if b"\0" in data or controls > _MAX_BAD_SHARE * len(data):
        raise UserError(f"expected UTF-8 text, got a binary file, {name}: leave it out, or convert it to UTF-8")
    text = data.decode("utf-8", errors="replace")
    # A U+FFFD in the file is valid text, not a replacement.
    replaced = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    if replaced > _MAX_BAD_SHARE * len(text):
        raise UserError(
            f"expected UTF-8 text, got {name}, where {replaced:,} of {len(text):,} characters are not: "
            "convert it to UTF-8"
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n"), replaced


def _documents(text: str, name: str) -> list[Document]:
    if not name.lower().endswith(".jsonl"):
        return [Document(name, text)] if text.strip() else []
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            document = _json_text(line, f"{name}, line {number}")
            if document.strip():
                documents.append(Document(f"{name}:{number}", document))
    return documents


def _json_text(line: str, where: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"expected one JSON object a line, got {error} in {where}: correct the line") from None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise UserError(
            f'expected an object with a string under "text", got {line[:60]!r} in {where}: correct the line'
        )
    # JSON can spell half of a surrogate pair, which has no UTF-8.
    return _SURROGATE.sub("\ufffd", text).replace("\r\n", "\n")


# The prose of the Python installation

_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
_WORD = re.compile(r"[A-Za-z]{2,}")
_NOT_LETTER = re.compile(r"[^\w\s]|[\d_]")
# As in doctest: an example starts at ">>>" and its output ends at the next empty line.
_DOCTEST = re.compile(r"^[ \t]*>>>.*\n?(?:[ \t]*\S.*\n?)*", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def _read_python_prose() -> Corpus:
    """The docstrings of the standard library, one document per module, and the topics of `help()`."""
    root = Path(sysconfig.get_path("stdlib"))
    documents, file_count = [], 0
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not _SKIPPED_FOLDERS.intersection(name.parts) and name.parts[0] != "pydoc_data":
            docstrings = [text for text in _docstrings(path) if _is_prose(text) and _is_new(text, seen)]
            if docstrings:
                documents.append(Document(name.as_posix(), "\n\n".join(docstrings) + "\n"))
                file_count += 1
    if _size_bytes(document.text for document in documents) < MIN_STDLIB_BYTES:
        documents, file_count = [], 0
    topics = [Document(f"topic {name}", text) for name, text in _topics(root) if _is_new(text, seen)]
    if not documents and not topics:
        raise UserError(f"expected the sources of Python's standard library, got none in {root}: name a text file")
    origin = f"English prose of Python {sys.version_info.major}.{sys.version_info.minor} (docstrings, help topics)"
    return _corpus(documents + topics, origin, file_count + bool(topics), replaced=0)


def _docstrings(path: Path) -> list[str]:
    """The cleaned docstrings of a source file, in its order; none if it does not parse."""
    found = []
    pending: list[ast.AST | None] = [_parse(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                found.append(_clean(docstring))
        # Only statements: expressions are most of a tree, and have no docstrings.
        blocks = (getattr(node, name, ()) for name in ("body", "handlers", "cases", "orelse", "finalbody"))
        pending += reversed([statement for block in blocks for statement in block])
    return found


def _parse(path: Path) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in string literals
        try:
            return ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            return None


def _clean(docstring: str) -> str:
    """The docstring without indentation, trailing blanks and interactive examples, which are no prose."""
    text = _SURROGATE.sub("\ufffd", inspect.cleandoc(docstring))
    text = _DOCTEST.sub("", "\n".join(line.rstrip() for line in text.split("\n")))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _is_prose(text: str) -> bool:
    """Whether the text has at least four words and mostly letters, unlike "a == b" or a table of numbers."""
    return len(_WORD.findall(text)) >= 4 and len(_NOT_LETTER.findall(text)) <= 0.3 * len(text)


def _is_new(text: str, seen: set[str]) -> bool:
    """True the first time. Texts that differ only in case, digits or white space count as equal."""
    key = re.sub(r"\d+", "0", " ".join(text.lower().split()))
    if key in seen:
        return False
    seen.add(key)
    return True


def _topics(root: Path) -> list[tuple[str, str]]:
    """The sorted name and text of each help topic, from the dictionary in pydoc_data/topics.py."""
    tree = _parse(root / "pydoc_data" / "topics.py")
    for node in tree.body if tree else []:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            return sorted(topics.items())
    return []
