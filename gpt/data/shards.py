"""Token shards on disk: .npy files that are read through a memory map, and a manifest.

A data set called "train" is `train-00000.npy`, `train-00001.npy`, ... (the tokens of all documents,
one after another), `train-documents.npy` (where each document begins) and `train.json` (the manifest).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt.atomic import sync
from gpt.data.tokenizer import Tokenizer
from gpt.errors import UserError

SHARD_TOKENS = 1 << 25

_BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest's fields. Every shard but the last has `shard_tokens` tokens."""

    num_tokens: int
    num_documents: int
    num_bytes: int
    shard_tokens: int
    dtype: str
    tokens_sha256: str
    tokenizer_fingerprint: str

    @property
    def num_shards(self) -> int:
        return -(-self.num_tokens // self.shard_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """An open data set. `document_starts` ends with the number of tokens."""

    manifest: Manifest
    arrays: tuple[NDArray[Any], ...]
    document_starts: NDArray[np.int64]

    def tokens(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens at `positions`, in the same shape."""
        if len(self.arrays) == 1:
            return self.arrays[0][positions].astype(np.int64)
        tokens = np.empty(positions.shape, np.int64)
        shard_of, within = np.divmod(positions, self.manifest.shard_tokens)
        for shard in np.unique(shard_of):
            here = shard_of == shard
            tokens[here] = self.arrays[shard][within[here]]
        return tokens


def write_shards(
    texts: Iterable[str], tokenizer: Tokenizer, folder: str | Path, name: str, *, shard_tokens: int = SHARD_TOKENS
) -> Manifest:
    """Tokenise `texts` into the data set `name` of `folder`, replacing one of the same name.

    The end-of-text id, if the tokenizer has one, follows each document. The files are written to a
    temporary folder, synced, and moved into place, the manifest last: a data set that opens is complete.

    Raises:  UserError: no tokens, or a text that the tokenizer cannot encode. The folder is unchanged.
    """
    assert name.isidentifier(), name
    assert shard_tokens >= 1, shard_tokens
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as staging:
        manifest = _write_arrays(texts, tokenizer, _ShardWriter(Path(staging), name, tokenizer, shard_tokens))
        array_files = list(Path(staging).iterdir())
        manifest_file = Path(staging, f"{name}.json")
        manifest_file.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
        sync(manifest_file)

        (folder / manifest_file.name).unlink(missing_ok=True)
        for stale in folder.glob(f"{name}-*.npy"):
            stale.unlink()
        for array_file in array_files:
            array_file.replace(folder / array_file.name)
        sync(folder)
        manifest_file.replace(folder / manifest_file.name)
        sync(folder)
    return manifest


def open_shards(folder: str | Path, name: str, tokenizer: Tokenizer) -> Shards:
    """The data set that `write_shards` wrote, as memory maps.

    Raises:  UserError: a file is missing or has the wrong size, or another tokenizer wrote it.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / f"{name}.json")
    if manifest.tokenizer_fingerprint != tokenizer.fingerprint:
        raise UserError(f"expected the tokenizer that wrote {name!r} in {folder}, got another: tokenise the text again")
    arrays = []
    for index in range(manifest.num_shards):
        size = min(manifest.shard_tokens, manifest.num_tokens - index * manifest.shard_tokens)
        arrays.append(_open_array(_shard_file(folder, name, index), manifest.dtype, size))
    starts = _open_array(folder / f"{name}-documents.npy", "int64", manifest.num_documents + 1)
    if starts[0] != 0 or starts[-1] != manifest.num_tokens or (np.diff(starts) < 0).any():
        raise UserError(
            f"expected document starts, from 0 to {manifest.num_tokens}, in {folder / f'{name}-documents.npy'}, "
            "got other numbers: tokenise the text again"
        )
    return Shards(manifest, tuple(arrays), starts)


class _ShardWriter:
    """Takes tokens in portions of any size, and writes them in shards of one size."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self.folder, self.name, self.shard_tokens = folder, name, shard_tokens
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        self.digest = hashlib.sha256()
        self.num_tokens = 0
        self._num_shards = 0
        self._pending: list[NDArray[Any]] = []
        self._num_pending = 0

    def add(self, tokens: NDArray[Any]) -> None:
        self._pending.append(tokens.astype(self.dtype))
        self._num_pending += tokens.size
        self.num_tokens += tokens.size
        while self._num_pending >= self.shard_tokens:
            self._write(self.shard_tokens)

    def finish(self, document_starts: NDArray[np.int64]) -> None:
        if self._num_pending:
            self._write(self._num_pending)
        _save(self.folder / f"{self.name}-documents.npy", document_starts)

    def _write(self, count: int) -> None:
        tokens = np.concatenate(self._pending)
        self._pending, self._num_pending = [tokens[count:]], tokens.size - count
        self.digest.update(tokens[:count].tobytes())
        _save(_shard_file(self.folder, self.name, self._num_shards), tokens[:count])
        self._num_shards += 1


def _write_arrays(texts: Iterable[str], tokenizer: Tokenizer, writer: _ShardWriter) -> Manifest:
    end = np.array([] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id], np.uint32)
    lengths = [0]
    num_bytes = 0
    for batch in _text_batches(texts):
        ids_of_texts = tokenizer.encode_batch(batch)
        writer.add(np.concatenate([part for ids in ids_of_texts for part in (ids, end)]))
        lengths += [ids.size + end.size for ids in ids_of_texts]
        num_bytes += sum(len(text.encode()) for text in batch)
    if writer.num_tokens == 0:
        raise UserError(f"expected text to tokenise for {writer.name!r}, got none: give a text that is not empty")
    writer.finish(np.cumsum(lengths))
    return Manifest(
        num_tokens=writer.num_tokens,
        num_documents=len(lengths) - 1,
        num_bytes=num_bytes,
        shard_tokens=writer.shard_tokens,
        dtype=writer.dtype.name,
        tokens_sha256=writer.digest.hexdigest(),
        tokenizer_fingerprint=tokenizer.fingerprint,
    )


def _text_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in groups of about four million characters, so that the tokenizer works on many at a time."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _shard_file(folder: Path, name: str, index: int) -> Path:
    return folder / f"{name}-{index:05d}.npy"


def _save(path: Path, array: NDArray[Any]) -> None:
    try:
        np.save(path, array, allow_pickle=False)
        sync(path)
    except OSError as error:  # NumPy's own may name neither file nor reason
        raise OSError(f"{path}: expected room for {array.nbytes:,} bytes, got: {error}: make some") from None


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"expected tokenised data, got no {path}: tokenise the text first") from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"expected a manifest of tokenised data, got {error} in {path}: tokenise the text again"
        ) from None


def _open_array(path: Path, dtype: str, size: int) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"expected {path}, which is missing: tokenise the text again") from None
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"expected an array in {path}, got {error}: tokenise the text again") from None
    if array.dtype != dtype or array.shape != (size,):
        got = f"{array.dtype} {array.shape}"
        raise UserError(f"expected {size} {dtype} values in {path}, got {got}: tokenise the text again")
    return np.asarray(array)
