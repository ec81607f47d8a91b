"""Where documents come from: files, folders, standard input, or the Python installation itself.

Training needs text, and a first run should need no download. Every Python installation has about
two megabytes of English about programming: the docstrings of the standard library and the
language reference behind `help()`. `read_corpus([])` reads them from their sources without
importing a module; `read_corpus(paths)` reads the user's own text.

`split_documents` then sets a part of the corpus aside, which no model is trained on.
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
"""Files that are read out of a folder. A file named by itself is read whatever its suffix."""

MIN_STDLIB_BYTES = 200_000
"""With fewer bytes of docstrings than this (an installation without sources), only the topics are used."""

MIN_DOCUMENTS_TO_HOLD_OUT_WHOLE = 20

# Above this share of undecodable sequences or of control characters, a file is not UTF-8 text at all.
_MAX_BAD_SHARE = 0.1
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """One text that stands by itself: a file, a line of a .jsonl file, the docstrings of a module."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents, and what to print about where they come from.

    `size_bytes` and `sha256` are those of the documents' UTF-8 text, one after the other: for one
    well-formed file, what `sha256sum` prints. `replaced_sequences` counts what was not valid
    UTF-8 and became U+FFFD.
    """

    documents: tuple[Document, ...]
    description: str
    sha256: str
    size_bytes: int
    file_count: int
    replaced_sequences: int


@dataclass(frozen=True, slots=True)
class Split:
    """What to train on, what to evaluate on, and the rule that told them apart, in words."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]
    rule: str


def read_corpus(paths: Sequence[str] = ()) -> Corpus:
    """The documents in `paths`: files, folders (recursively), "-" (standard input); if none, Python's own.

    A .jsonl file holds one document a line, under the key "text"; any other file is one document.
    Text is UTF-8; a byte-order mark is dropped, "\\r\\n" becomes "\\n", and sequences that are not
    UTF-8 become U+FFFD and are counted.

    Raises:  UserError: a path that is missing, empty, not text, or (.jsonl) malformed.
    """
    return _read_paths(paths) if paths else _read_python_prose()


def split_documents(corpus: Corpus, holdout: float = 0.1) -> Split:
    """Hold out about the share `holdout` of the text's bytes.

    With 20 documents or more, whole documents are held out: those whose SHA-256, read as a number
    in [0, 1), is below `holdout`. A document so stays on its side when others come or go. With
    fewer documents, or where that leaves less than half or more than twice the share that was
    asked for, the end of each document is held out: its characters from int(n * (1 - holdout)) on.
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


def _read_paths(paths: Sequence[str]) -> Corpus:
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


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that `path` stands for."""
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
    """The text of `data`, and how many of its sequences are not UTF-8."""
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if b"\0" in data or controls > _MAX_BAD_SHARE * len(data):
        raise UserError(f"expected UTF-8 text, got a binary file, {name}: leave it out, or convert it to UTF-8")
    text = data.decode("utf-8", errors="replace")
    # A U+FFFD of the text itself is valid, and always decodes as itself.
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
    # JSON can spell half of a surrogate pair, which is no character and has no UTF-8.
    return _SURROGATE.sub("\ufffd", text).replace("\r\n", "\n")


# The prose of the Python installation

_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
_WORD = re.compile(r"[A-Za-z]{2,}")
_NOT_LETTER = re.compile(r"[^\w\s]|[\d_]")
# As in doctest: an example starts at ">>>" and its output ends at the next empty line.
_DOCTEST = re.compile(r"^[ \t]*>>>.*\n?(?:[ \t]*\S.*\n?)*", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def _read_python_prose() -> Corpus:
    """The docstrings of the standard library, one document a module, and the topics of `help()`."""
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
    """The cleaned docstrings of a source file, in the order of the source; none if it does not parse."""
    found = []
    pending: list[ast.AST | None] = [_parse(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                found.append(_clean(docstring))
        # Statements only: most of a tree are expressions, which have no docstrings.
        blocks = (getattr(node, name, ()) for name in ("body", "handlers", "cases", "orelse", "finalbody"))
        pending += reversed([statement for block in blocks for statement in block])
    return found


def _parse(path: Path) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's string literals
        try:
            return ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            return None


def _clean(docstring: str) -> str:
    """Without indentation, trailing blanks and interactive examples, which are transcripts, not prose."""
    text = _SURROGATE.sub("\ufffd", inspect.cleandoc(docstring))
    text = _DOCTEST.sub("", "\n".join(line.rstrip() for line in text.split("\n")))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _is_prose(text: str) -> bool:
    """Four words at least, and mostly letters: not "a == b", not a table of numbers."""
    return len(_WORD.findall(text)) >= 4 and len(_NOT_LETTER.findall(text)) <= 0.3 * len(text)


def _is_new(text: str, seen: set[str]) -> bool:
    """True the first time. Texts that differ only in case, digits or white space count as one."""
    key = re.sub(r"\d+", "0", " ".join(text.lower().split()))
    if key in seen:
        return False
    seen.add(key)
    return True


def _topics(root: Path) -> list[tuple[str, str]]:
    """Name and text of each help topic: the dictionary literal `topics` of pydoc_data/topics.py, sorted."""
    tree = _parse(root / "pydoc_data" / "topics.py")
    for node in tree.body if tree else []:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            return sorted(topics.items())
    return []
