"""Token shards: the files on disk, complete or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpt.data.shards as shards_module
from gpt.data.shards import open_shards, write_shards
from gpt.data.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from gpt.errors import UserError

BYTES = byte_tokenizer()
TEXTS = ["The first document.", "", "The zweite, with an ü.", "3"]
STREAM = b"".join(text.encode() + b"\xff" for text in TEXTS)  # 0xff, which UTF-8 never has, for the end of text


def stream_of(tokens: np.ndarray) -> bytes:
    return bytes(255 if token == 256 else token for token in tokens.tolist())


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("shard_tokens", [1, 7, len(STREAM) - 1, len(STREAM), 1000])
def test_what_is_written_is_read(tmp_path: Path, shard_tokens: int) -> None:
    manifest = write_shards(iter(TEXTS), BYTES, tmp_path, "train", shard_tokens=shard_tokens)
    shards = open_shards(tmp_path, "train", BYTES)
    assert shards.manifest == manifest
    assert (manifest.num_tokens, manifest.num_documents) == (len(STREAM), 4)
    assert manifest.num_bytes == sum(len(text.encode()) for text in TEXTS)
    assert len(shards.arrays) == manifest.num_shards == -(-len(STREAM) // shard_tokens)
    assert all(array.dtype == np.uint16 for array in shards.arrays)
    assert manifest.tokens_sha256 == hashlib.sha256(np.concatenate(shards.arrays).tobytes()).hexdigest()
    assert stream_of(shards.tokens(np.arange(len(STREAM)))) == STREAM
    assert shards.document_starts.tolist() == [0, 20, 21, 45, 47]
    assert {name.split("-")[0].split(".")[0] for name in files_of(tmp_path)} == {"train"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(texts=st.lists(st.text(max_size=12), min_size=1), shard_tokens=st.integers(1, 40), data=st.data())
def test_any_position_of_any_documents(
    tmp_path: Path, texts: list[str], shard_tokens: int, data: st.DataObject
) -> None:
    write_shards(texts, BYTES, tmp_path, "train", shard_tokens=shard_tokens)
    shards = open_shards(tmp_path, "train", BYTES)
    stream = b"".join(text.encode() + b"\xff" for text in texts)
    positions = np.array(data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=4, max_size=4))).reshape(2, 2)
    tokens = shards.tokens(positions)
    assert (tokens.shape, tokens.dtype) == ((2, 2), np.int64)
    assert stream_of(tokens.ravel()) == bytes(stream[i] for i in positions.ravel())


def test_without_an_end_of_text_documents_are_joined(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(["abc"])
    write_shards(["ab", "c"], tokenizer, tmp_path, "train")
    shards = open_shards(tmp_path, "train", tokenizer)
    assert shards.tokens(np.arange(3)).tolist() == [0, 1, 2]
    assert shards.document_starts.tolist() == [0, 2, 3]


def test_documents_are_tokenised_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_shards(TEXTS, BYTES, tmp_path, "whole")
    monkeypatch.setattr(shards_module, "_BATCH_CHARACTERS", 20)
    assert write_shards(TEXTS, BYTES, tmp_path, "groups") == whole


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(["".join(map(chr, range(0x10000, 0x20001)))])
    assert tokenizer.vocab_size == 65537
    write_shards(["\U00010000\U00020000"], tokenizer, tmp_path, "train")
    shards = open_shards(tmp_path, "train", tokenizer)
    assert shards.arrays[0].dtype == np.uint32
    assert shards.tokens(np.arange(2)).tolist() == [0, 65536]


def test_two_sets_share_a_folder_and_one_is_replaced_whole(tmp_path: Path) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train", shard_tokens=5)
    write_shards(["held out"], BYTES, tmp_path, "heldout")
    heldout = {name: data for name, data in files_of(tmp_path).items() if name.startswith("heldout")}
    write_shards(["other"], BYTES, tmp_path, "train", shard_tokens=5)
    assert stream_of(open_shards(tmp_path, "train", BYTES).tokens(np.arange(6))) == b"other\xff"
    assert set(files_of(tmp_path)) == {
        "train-00000.npy",
        "train-00001.npy",
        "train-documents.npy",
        "train.json",
        *heldout,
    }
    assert heldout.items() <= files_of(tmp_path).items()


def test_the_same_text_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(TEXTS, BYTES, tmp_path / name, "train", shard_tokens=7)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def broken_texts() -> Iterator[str]:
    yield "abc" * 100
    yield "é"


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(["abc"])
    write_shards(["abcabc"], tokenizer, tmp_path, "train")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="got 'é'"):
        write_shards(broken_texts(), tokenizer, tmp_path, "train", shard_tokens=10)
    with pytest.raises(UserError, match="text to tokenise for 'train', got none"):
        write_shards([], tokenizer, tmp_path, "train")
    with pytest.raises(UserError, match="text to tokenise"):
        write_shards([""], tokenizer, tmp_path, "train")
    assert files_of(tmp_path) == before


def test_an_interrupted_move_leaves_nothing_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train", shard_tokens=10)
    replace = Path.replace

    def fail_on_documents(self: Path, target: Path) -> Path:
        if "documents" in self.name:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_on_documents)
    with pytest.raises(KeyboardInterrupt):
        write_shards(["other"], BYTES, tmp_path, "train", shard_tokens=10)
    with pytest.raises(UserError, match=r"got no .*train\.json"):
        open_shards(tmp_path, "train", BYTES)


# What is refused


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def retype(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int32))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [remove, shorten, retype, cut, empty])
@pytest.mark.parametrize("name", ["train-00000.npy", "train-00002.npy", "train-documents.npy"])
def test_a_damaged_array_is_named(tmp_path: Path, damage: Callable[[Path], None], name: str) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train", shard_tokens=20)
    damage(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}.*: tokenise the text again"):
        open_shards(tmp_path, "train", BYTES)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"num_tokens": 3}', "\udcff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train")
    (tmp_path / "train.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"train\.json"):
        open_shards(tmp_path, "train", BYTES)


@pytest.mark.parametrize("starts", [[1, 20, 21, 45, 47], [0, 21, 20, 45, 47], [0, 20, 21, 45, 46]])
def test_documents_that_begin_nowhere_are_refused(tmp_path: Path, starts: list[int]) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train")
    np.save(tmp_path / "train-documents.npy", np.array(starts))
    with pytest.raises(UserError, match=r"from 0 to 47, in .*train-documents\.npy, got other numbers"):
        open_shards(tmp_path, "train", BYTES)


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("4032 requested and 0 written")  # as NumPy does

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match=r"train-00000\.npy: expected room for 94 bytes, got: 4032 requested"):
        write_shards(TEXTS, BYTES, tmp_path, "train")
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train")
    other: Tokenizer = character_tokenizer(TEXTS)
    with pytest.raises(UserError, match="expected the tokenizer that wrote 'train'"):
        open_shards(tmp_path, "train", other)


def test_the_manifest_is_readable_json(tmp_path: Path) -> None:
    write_shards(TEXTS, BYTES, tmp_path, "train")
    manifest = json.loads((tmp_path / "train.json").read_text())
    assert manifest["num_documents"] == 4
    assert manifest["tokenizer_fingerprint"] == BYTES.fingerprint
