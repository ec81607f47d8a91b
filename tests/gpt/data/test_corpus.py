"""Reading documents, refusing what is not text, holding a part out."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data import corpus as corpus_module
from gpt.data.corpus import Corpus, Document, read_corpus, split_documents
from gpt.errors import UserError

SHAKESPEARE = Path(__file__).parents[4] / "shared" / "data" / "tinyshakespeare.txt"
no_deadline = settings(deadline=None)  # the machine may be busy


def corpus_of(*texts: str) -> Corpus:
    return corpus_module._corpus([Document(str(i), t) for i, t in enumerate(texts)], "test", len(texts), 0)


def texts_of(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus.documents]


# Files, folders, standard input


def test_a_file_is_one_document_with_the_digest_of_sha256sum(tmp_path: Path) -> None:
    data = "First line.\nZweite Zeile: ü.\n".encode()
    (tmp_path / "a.log").write_bytes(data)
    corpus = read_corpus([str(tmp_path / "a.log")])
    assert corpus.documents == (Document(str(tmp_path / "a.log"), data.decode()),)
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()
    assert (corpus.size_bytes, corpus.file_count, corpus.replaced_sequences) == (len(data), 1, 0)
    for fact in ("1 file", "1 document", f"{len(data)} bytes", corpus.sha256):
        assert fact in corpus.description
    assert "U+FFFD" not in corpus.description


def test_a_folder_is_read_recursively_in_order_and_only_its_text(tmp_path: Path) -> None:
    for name, content in {
        "b.txt": "second",
        "a/z.md": "first",
        "c.RST": "third",
        "empty.txt": "",
        "image.png": "not text",
        ".hidden.txt": "hidden",
        ".git/x.txt": "hidden",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert texts_of(read_corpus([str(tmp_path)])) == ["first", "second", "third"]


def test_several_paths_are_read_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    corpus = read_corpus([str(tmp_path / "b.txt"), str(tmp_path / "a.txt")])
    assert texts_of(corpus) == ["b.txt", "a.txt"]
    assert corpus.file_count == 2


def test_a_jsonl_file_has_one_document_a_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "one\u2028still one"}, ensure_ascii=False), "", '{"text": "two\\r\\n", "id": 7}']
    lines += ['{"text": " "}', '{"text": "half \\ud83d"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    corpus = read_corpus([str(tmp_path / "a.jsonl")])
    assert texts_of(corpus) == ["one\u2028still one", "two\n", "half \ufffd"]
    assert corpus.documents[1].name.endswith("a.jsonl:3")


@pytest.mark.parametrize("line", ["{", "[1]", '{"body": "x"}', '{"text": 3}', "[" * 100_000, "9" * 5_000])
def test_a_malformed_jsonl_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"a\.jsonl, line 2"):
        read_corpus([str(tmp_path / "a.jsonl")])


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfpiped\r\ntext\r")))
    assert read_corpus(["-"]).documents == (Document("standard input", "piped\ntext\r"),)


def test_invalid_utf8_is_replaced_and_counted_once_a_sequence(tmp_path: Path) -> None:
    # One stray byte, one truncated sequence of three bytes, and a U+FFFD that the text itself has.
    data = b"caf\xe9 and \xe2\x82 and \xef\xbf\xbd, in a text that is otherwise fine."
    (tmp_path / "a.txt").write_bytes(data)
    corpus = read_corpus([str(tmp_path / "a.txt")])
    assert corpus.replaced_sequences == 2
    assert corpus.documents[0].text.count("\ufffd") == 3
    assert "2 sequences were not UTF-8" in corpus.description


@no_deadline
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
def test_valid_utf8_is_never_counted_as_replaced(content: str) -> None:
    decoded, replaced = corpus_module._decode(content.encode(), "x")
    assert (decoded, replaced) == (content.removeprefix("\ufeff"), 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got nothing"),
        (b" \n\t\n", "got nothing"),
        (b"text with a \0 in it", "binary"),
        ("UTF-16 text".encode("utf-16"), "binary"),
        (bytes(range(1, 32)) * 4, "binary"),
        ("Привет, мир".encode("koi8-r") * 9, "characters are not: convert it to UTF-8"),
    ],
)
def test_what_is_not_text_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read_corpus([str(tmp_path / "a.txt")])
    assert "a.txt" in str(error.value)


def test_missing_paths_and_folders_without_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_corpus([str(tmp_path / "absent.txt")])
    with pytest.raises(UserError, match="got none in"):
        read_corpus([str(tmp_path)])
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(UserError, match="expected a readable file"):
        read_corpus([str(tmp_path / "a.txt" / "b.txt")])
    with pytest.raises(UserError, match="only empty files"):
        read_corpus([str(tmp_path)])


# The prose of the Python installation


@pytest.fixture
def stdlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of four modules; executing one of them would fail."""
    sources = {
        "alpha.py": '''
            """The first module is about letters."""
            raise SystemExit("executed")
            class Letter:
                """One letter out of many, as a class.

                    >>> Letter("a")
                    Letter('a')

                It can be printed on paper.
                """
                async def print(self): "Print the letter in dark \\\\d ink."
            try:
                def tried(): "Defined in a try block here."
            except NameError:
                def caught(): "Defined in a handler of it."
            finally:
                pass
            def first(): "a == b"
            def second(): "The second function is described here."
            ''',
        "beta/gamma.py": '"""the  SECOND function is described\\nhere."""\ndef f(): "This one is new in gamma."',
        "delta.py": 'def broken(: "never seen at all in here"',
        "only_doctest.py": 'def f():\n    """\n    >>> several words and more words\n    1\n    """',
        "test/test_alpha.py": '"""The words of a test module are not read."""',
        "site-packages/other.py": '"""The words of a package are not read."""',
        "pydoc_data/topics.py": 'topics = {"b": "The topic called b.\\n", "a": "The topic called a.\\n"}',
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines = source.split("\n")
        indent = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
        (tmp_path / name).write_text("\n".join([lines[0], *(line[indent:] for line in lines[1:])]))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: {"stdlib": str(tmp_path)}[name])
    return tmp_path


def test_docstrings_become_prose(stdlib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "MIN_STDLIB_BYTES", 1)
    corpus = read_corpus()
    assert corpus.documents == (
        Document(
            "alpha.py",
            "The first module is about letters.\n\n"
            "One letter out of many, as a class.\n\nIt can be printed on paper.\n\n"
            "Print the letter in dark \\d ink.\n\n"
            "Defined in a try block here.\n\nDefined in a handler of it.\n\n"
            "The second function is described here.\n",
        ),
        Document("beta/gamma.py", "This one is new in gamma.\n"),
        Document("topic a", "The topic called a.\n"),
        Document("topic b", "The topic called b.\n"),
    )
    assert corpus.file_count == 3
    assert read_corpus() == corpus


def test_an_installation_without_sources_has_the_topics_alone(stdlib: Path) -> None:
    corpus = read_corpus()
    assert [document.name for document in corpus.documents] == ["topic a", "topic b"]
    assert corpus.file_count == 1
    (stdlib / "pydoc_data" / "topics.py").unlink()
    with pytest.raises(UserError, match="sources of Python's standard library"):
        read_corpus()


def test_this_installation_has_enough_prose() -> None:
    python_prose = read_corpus()
    if len(python_prose.documents) < 300:
        pytest.skip("an installation without the sources of the standard library")
    assert 1_500_000 < python_prose.size_bytes < 4_000_000
    everything = "".join(texts_of(python_prose))
    assert sum(c.isalpha() or c.isspace() for c in everything) > 0.8 * len(everything)
    assert ">>> " not in "".join(texts_of(python_prose)[:100])
    assert f"{python_prose.size_bytes:,} bytes" in python_prose.description


# Holding out


def test_whole_documents_are_held_out_and_stay_on_their_side() -> None:
    texts = [f"document number {i}, " * (1 + i % 7) for i in range(400)]
    split = split_documents(corpus_of(*texts), 0.2)
    assert sorted([*split.train, *split.heldout]) == sorted(texts)
    share = sum(map(len, split.heldout)) / sum(map(len, texts))
    assert 0.1 < share < 0.4
    assert f"{len(split.heldout)} of 400 documents" in split.rule
    assert f"{share:.1%}" in split.rule
    fewer = split_documents(corpus_of(*texts[100:]), 0.2)
    assert set(fewer.heldout) == set(split.heldout) & set(texts[100:])
    assert set(fewer.train) == set(split.train) & set(texts[100:])


def test_few_documents_lose_their_ends() -> None:
    texts = ["0123456789" * 3, "é" * 10]
    split = split_documents(corpus_of(*texts), 0.1)
    assert split.train == (texts[0][:27], texts[1][:9])
    assert split.heldout == (texts[0][27:], texts[1][9:])
    assert "last 10%" in split.rule


def test_one_document_that_dwarfs_the_others_loses_its_end() -> None:
    texts = ["x" * 100_000, *(f"small {i}" for i in range(30))]
    split = split_documents(corpus_of(*texts), 0.1)
    assert "last 10%" in split.rule
    assert split.train[0] == "x" * 90_000


@no_deadline
@given(st.lists(st.text(max_size=30), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_nothing_is_lost_and_both_sides_have_text(texts: list[str], holdout: float) -> None:
    corpus = corpus_of(*(t for t in texts if t))
    try:
        split = split_documents(corpus, holdout)
    except UserError:
        assert all(int(len(t) * (1.0 - holdout)) == 0 for t in texts)
        return
    assert "".join(sorted("".join([*split.train, *split.heldout]))) == "".join(sorted("".join(texts)))
    assert any(split.train)
    assert any(split.heldout)


@pytest.mark.parametrize("holdout", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_shares_are_refused(holdout: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        split_documents(corpus_of("some text"), holdout)


def test_tiny_shakespeare_is_split_as_nanogpt_does() -> None:
    if not SHAKESPEARE.exists():
        pytest.skip("the text is not here")
    split = split_documents(read_corpus([str(SHAKESPEARE)]), 0.1)
    assert [len(t) for t in (*split.train, *split.heldout)] == [1_003_854, 111_540]
    assert split.train[0] + split.heldout[0] == SHAKESPEARE.read_text()
