"""Text -> token ids and back: bytes, characters, or byte-level BPE.

The library `tokenizers` does the work, and reads and writes `tokenizer.json`. `Tokenizer` adds what
training needs: it never reads special tokens out of a user's text, its errors name the character or
the id, and it knows the bytes that each id stands for.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpt.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as LibraryTokenizer

END_OF_TEXT = "<|endoftext|>"

# The token between two documents in the families that `load_tokenizer` reads: GPT-2, Llama 3, Llama 2.
_END_OF_TEXT_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>")

_PIECE_CHARACTERS = 1 << 16
_PIECES_PER_CALL = 128
_PIECE_END = re.compile(r"[^\W\d_](?= )")


class Tokenizer:
    """Text to ids and back. See `byte_tokenizer`, `character_tokenizer`, `train_bpe`, `load_tokenizer`.

    Special tokens stand for no text: `decode` leaves them out, and `token_bytes` returns b"" for them.
    """

    def __init__(self, library: LibraryTokenizer) -> None:
        library.no_truncation()
        library.no_padding()
        library.encode_special_tokens = True
        self._library = library

    @cached_property
    def vocab_size(self) -> int:
        """Number of ids: the largest id + 1."""
        return max(self._library.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def end_of_text_id(self) -> int | None:
        """The id that follows each document; None if the vocabulary has none (characters)."""
        special_ids = {token.content: token_id for token_id, token in self._added_tokens.items() if token.special}
        return next((special_ids[name] for name in _END_OF_TEXT_NAMES if name in special_ids), None)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`. Without `allow_special`, "<|endoftext|>" in it is ordinary text.

        Raises:  UserError: a character that the vocabulary cannot write.
        """
        if not allow_special:
            return [int(token_id) for token_id in self.encode_batch([text])[0]]
        self._check(text)
        self._library.encode_special_tokens = False
        try:
            return list(self._library.encode(text, add_special_tokens=False).ids)
        finally:
            self._library.encode_special_tokens = True

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """The ids of each text, as `encode` gives them, computed on all cores.

        Raises:  UserError: a character that the vocabulary cannot write.
        """
        for text in texts:
            self._check(text)
        pieces = [list(_pieces(text)) if self._is_piecewise else [text] for text in texts]
        ids = iter(self._encode_pieces([piece for group in pieces for piece in group]))
        return [np.concatenate([next(ids) for _ in group]) for group in pieces]

    def _encode_pieces(self, pieces: list[str]) -> list[NDArray[np.uint32]]:
        """The ids of each piece, in groups: the library needs many times the memory of the ids."""
        ids: list[NDArray[np.uint32]] = []
        for start in range(0, len(pieces), _PIECES_PER_CALL):
            group = pieces[start : start + _PIECES_PER_CALL]
            encodings = self._library.encode_batch_fast(group, add_special_tokens=False)
            ids += [np.array(encoding.ids, np.uint32) for encoding in encodings]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Raises:  UserError: an id out of the vocabulary.
        """
        checked = [self._checked_id(token_id) for token_id in ids]
        return str(self._library.decode(checked, skip_special_tokens=True))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of text that one id stands for, possibly part of a character; b"" for a special token."""
        return self._bytes_by_id[self._checked_id(token_id)]

    @cached_property
    def token_lengths_bytes_V(self) -> NDArray[np.int64]:
        """`len(token_bytes(id))` for every id, to turn a loss per token into bits per byte."""
        return np.array([len(data) for data in self._bytes_by_id], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the bytes of every id: equal for tokenizers whose ids mean the same."""
        digest = hashlib.sha256(f"{self.end_of_text_id}".encode())
        for data in self._bytes_by_id:
            digest.update(len(data).to_bytes(4) + data)
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` into `folder`, and `tokenizer_config.json` for `transformers`.

        Without the second, `transformers` guesses a class from the model beside it, and GPT-2's class
        decodes the ids of characters wrongly.
        """
        config = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if self.end_of_text_id is not None:
            config["eos_token"] = self._added_tokens[self.end_of_text_id].content
        Path(folder, "tokenizer.json").write_text(self._library.to_str(pretty=True) + "\n", encoding="utf-8")
        Path(folder, "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def _check(self, text: str) -> None:
        """Raise UserError for text that the library would reject with an obscure error, or drop silently."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"expected text, got half a surrogate pair at character {error.start}: give the text as UTF-8"
            ) from None
        if self._alphabet is not None and not self._alphabet.issuperset(text):
            unknown = min(set(text) - self._alphabet, key=text.index)
            raise UserError(
                f"expected only the {len(self._alphabet)} characters of the tokenizer's training text, "
                f"got {unknown!r} (U+{ord(unknown):04X}): leave it out, or train with kind bpe or bytes"
            )

    def _checked_id(self, token_id: int) -> int:
        if not 0 <= token_id < self.vocab_size:
            raise UserError(
                f"expected token ids in 0 .. {self.vocab_size - 1}, got {token_id}: use the tokenizer that made the ids"
            )
        return int(token_id)

    @cached_property
    def _added_tokens(self) -> dict[int, Any]:
        return dict(self._library.get_added_tokens_decoder())

    @cached_property
    def _layout(self) -> dict[str, Any]:
        """The parts of tokenizer.json, without the vocabulary."""
        layout = json.loads(self._library.to_str())
        layout["model"] = {key: value for key, value in layout["model"].items() if key not in ("vocab", "merges")}
        return dict(layout)

    @cached_property
    def _alphabet(self) -> frozenset[str] | None:
        """The characters with an id; None if bytes or an unknown token stand for all others."""
        model = self._layout["model"]
        if _has_part(self._layout, "ByteLevel") or model.get("byte_fallback") or model.get("unk_token") is not None:
            return None
        return frozenset(token for token in self._library.get_vocab(with_added_tokens=False) if len(token) == 1)

    @cached_property
    def _is_piecewise(self) -> bool:
        """Whether a long text may be cut into pieces: not if the text's start is marked, as in SentencePiece."""
        return self._layout["normalizer"] is None and not _has_part(self._layout, "Metaspace")

    @cached_property
    def _bytes_by_id(self) -> list[bytes]:
        vocabulary = self._library.get_vocab(with_added_tokens=False)
        token_of = {token_id: token for token, token_id in vocabulary.items()}
        table = [self._ordinary_bytes(token_of.get(token_id, "")) for token_id in range(self.vocab_size)]
        for token_id, token in self._added_tokens.items():
            table[token_id] = b"" if token.special else token.content.encode()
        return table

    def _ordinary_bytes(self, token: str) -> bytes:
        """The bytes that the decoder writes for a token: byte-level, byte fallback, or plain text."""
        if _has_part(self._layout["decoder"], "ByteLevel") and _BYTE_OF_CHARACTER.keys() >= set(token):
            return bytes(_BYTE_OF_CHARACTER[character] for character in token)
        if _has_part(self._layout["decoder"], "ByteFallback") and re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        if self._is_piecewise:
            return token.encode()
        return token.replace("\u2581", " ").encode()


class StreamDecoder:
    """Ids in, text out, one id at a time, and never a part of a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """The characters that this id completes; "" if it completes none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """The rest: U+FFFD if the ids ended inside a character, otherwise ""."""
        return self._decoder.decode(b"", final=True)


def byte_tokenizer() -> Tokenizer:
    """One id per byte of UTF-8, 0 .. 255, and 256 for the end of a text."""
    import tokenizers

    library = _byte_level(tokenizers.models.BPE(dict(_BYTE_OF_CHARACTER), []), use_regex=False)
    library.add_special_tokens([_special(END_OF_TEXT)])
    return Tokenizer(library)


def character_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One id per character: the sorted distinct characters of `texts`. There is no end of text.

    Source: the vocabulary of nanoGPT's data/shakespeare_char.
    """
    import tokenizers

    characters = sorted(set().union(*texts))
    if not characters:
        raise UserError("expected text to take the characters from, got none: give a text that is not empty")
    vocabulary = {character: i for i, character in enumerate(characters)}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    library.decoder = tokenizers.decoders.Fuse()
    return Tokenizer(library)


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with GPT-2's pre-tokenization, learned from `texts`; id 0 is the end of a text.

    A small text may give fewer merges than `vocab_size` asks for; `Tokenizer.vocab_size` is the number.
    """
    import tokenizers

    if vocab_size < 257:
        raise UserError(f"expected a vocabulary of at least 257 (256 bytes, end of text), got {vocab_size}: raise it")
    library = _byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a merge that occurs once saves nothing
        special_tokens=[_special(END_OF_TEXT)],
        initial_alphabet=sorted(_BYTE_OF_CHARACTER),
        show_progress=False,
    )
    library.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    return Tokenizer(library)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in `folder`: tokenizer.json, or GPT-2's vocab.json and merges.txt.

    OpenAI's names for the latter two, encoder.json and vocab.bpe, are read as well.

    Raises:  UserError: none of them is there, or one is malformed.
    """
    import tokenizers

    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer(_read(tokenizers.Tokenizer.from_file, folder / "tokenizer.json"))
    for vocabulary, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        if (folder / vocabulary).is_file() and (folder / merges).is_file():
            library = _byte_level(_read(tokenizers.models.BPE.from_file, folder / vocabulary, folder / merges))
            if library.token_to_id(END_OF_TEXT) is not None:
                library.add_special_tokens([_special(END_OF_TEXT)])
            return Tokenizer(library)
    raise UserError(
        f"expected a tokenizer (tokenizer.json, or vocab.json and merges.txt), got none in {folder}: check the folder"
    )


def _byte_level(model: Any, *, use_regex: bool = True) -> LibraryTokenizer:
    """A library tokenizer of bytes, with GPT-2's pre-tokenization if `use_regex`."""
    import tokenizers

    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    library.decoder = tokenizers.decoders.ByteLevel()
    return library


def required(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer that was loaded beside a model; UserError if there was none."""
    if tokenizer is None:
        raise UserError("expected a model with a tokenizer, got none beside it: put its tokenizer.json there")
    return tokenizer


def _read(reader: Any, *paths: Path) -> Any:
    try:
        return reader(*map(str, paths))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(
            f"expected a tokenizer, got {error} in {' and '.join(map(str, paths))}: write the file again"
        ) from None


def _special(content: str) -> Any:
    from tokenizers import AddedToken

    return AddedToken(content, special=True, normalized=False)


def _has_part(layout: object, kind: str) -> bool:
    """Whether a nested description has a component of this type."""
    if isinstance(layout, dict):
        return layout.get("type") == kind or any(_has_part(value, kind) for value in layout.values())
    return isinstance(layout, list) and any(_has_part(value, kind) for value in layout)


def _pieces(text: str) -> Iterator[str]:
    """`text`, cut into pieces between a letter and a space.

    Every pre-tokenization that we read (GPT-2's, Llama 3's) also cuts there, whatever the text before
    and after it. So the ids of the pieces are the ids of the text.
    """
    start = 0
    while start < len(text):
        end = _PIECE_END.search(text, start + _PIECE_CHARACTERS)
        stop = end.end() if end else len(text)
        yield text[start:stop]
        start = stop
    if not text:
        yield ""


def _byte_characters() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes as themselves, the others as characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_characters()
