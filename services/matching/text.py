"""How alike two texts are: vectors of whole numbers, from a model that is read from disk.

The default is WordLlama (PyPI `wordllama`, MIT, weights in the wheel). Its two files are read
directly: importing the package loads an HTTP client and configures logging for the whole process,
its loader takes four times as long and twice the memory, and would ask the network for what it does
not find (ADR 27).

Of its 256 dimensions the first 128 are used. In retrieving the right profile for 48 invented goals
among 48, the mean reciprocal rank was 0.51 with 64, 0.55 with 128 and 0.56 with 256 dimensions,
0.18 with runs of letters; a matrix product costs in proportion.
"""

import base64
import hashlib
import importlib.util
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from services.matching.measures import Dense, Measure, Shared, Sparse

type Vectors = npt.NDArray[np.int16]
type Given = Sequence[str | None]
"""Vectors as callers bring them along, one for each text; None where there is none."""

WORDS, LETTERS = "wordllama-l2-128", "character-ngrams-1"
DIMENSIONS = 128
WORDS_LENGTH, LETTERS_LENGTH = 4000, 40_000
"""How long vectors are in whole numbers: as exact as their sums of products may be."""
NGRAMS = (3, 4)
BATCH = 1000
"""Texts that are taken apart at once: their words take far more memory than they do."""
KEPT = 100_000
"""Vectors that a process keeps: 25 MB."""


def names() -> list[str]:
    """Return the models that can be used here."""
    return [WORDS, LETTERS] if _folder() else [LETTERS]


def name_of(wanted: str | None) -> str:
    """Return the model that is used where a policy wants one, a kind, or none in particular."""
    usual = names()[0]
    return {None: usual, "words": usual, "letters": LETTERS}.get(wanted, wanted or usual)


def likeness(
    model: str,
    texts: Sequence[str],
    goals: Sequence[str],
    *,
    given: tuple[Given, Given] | None = None,
) -> Measure:
    """Return how alike each text is to each goal, from 0 to 1; an empty one is like nothing.

    `given` are vectors of this model for both, right ones; a model without vectors takes none.
    """
    return LIKENESS[model](list(map(_plain, texts)), list(map(_plain, goals)), given)


def _plain(text: str) -> str:
    """Return a text without what makes no difference: case and the number of spaces."""
    return " ".join(text.casefold().split())


# Words.


def vectors(texts: Sequence[str], given: Given | None = None) -> Vectors:
    """Return the vector of each text [texts, 128]: `WORDS_LENGTH` long, or 0 for an empty one.

    Those that are given are taken as they are, except of empty texts, and kept for nobody else.
    """
    brought = {row: one for row, one in enumerate(given or ()) if one and texts[row]}
    asked = [row for row, one in enumerate(texts) if one and row not in brought]
    found = np.zeros((len(texts), DIMENSIONS), dtype=np.int16)
    found[list(brought)] = _decoded(list(map(base64.b64decode, brought.values())))
    found[asked] = _worked_out([texts[row] for row in asked])
    return found


def encoded(vectors: Vectors) -> list[str]:
    """Return vectors as they cross the wire: base64 of 16 bits each, the low byte first."""
    return [base64.b64encode(one.tobytes()).decode() for one in vectors.astype("<i2")]


def wrong_vectors(given: Given) -> list[int]:
    """Return which of given vectors are none, or too long for exact products."""
    read = {row: _bytes_of(one) for row, one in enumerate(given) if one is not None}
    right = {row: one for row, one in read.items() if len(one) == 2 * DIMENSIONS}
    lengths = np.square(_decoded(list(right.values())).astype(np.int64)).sum(axis=1)
    long = {row for row, length in zip(right, lengths, strict=True) if length > Dense.LONGEST**2}
    return sorted((read.keys() - right.keys()) | long)


def _bytes_of(given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except ValueError:
        return b""


def _decoded(several: Sequence[bytes]) -> Vectors:
    return np.frombuffer(b"".join(several), dtype="<i2").reshape(-1, DIMENSIONS).astype(np.int16)


def _worked_out(texts: Sequence[str]) -> Vectors:
    """Return vectors that are kept or made now."""
    plain = list(map(_plain, texts))
    keys = [hashlib.sha256(text.encode()).digest() for text in plain]
    missing = {key: text for key, text in zip(keys, plain, strict=True) if key not in _kept}
    made = dict(zip(missing, _embedded(list(missing.values())), strict=True))
    found = [made[key] if key in made else _kept[key] for key in keys]
    _keep(made)
    return np.array(found, dtype=np.int16).reshape(-1, DIMENSIONS)


_kept: dict[bytes, Vectors] = {}


def _keep(made: Mapping[bytes, Vectors]) -> None:
    """Keep the newest vectors, each by the SHA-256 of its text."""
    # Copies: a row would keep the whole array it was made in.
    _kept.update((key, one.copy()) for key, one in made.items())
    for key in list(itertools.islice(_kept, max(0, len(_kept) - KEPT))):
        del _kept[key]


def _embedded(texts: list[str]) -> Vectors:
    """Return the mean of the words of each text, scaled."""
    found = [_mean_words(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return np.concatenate([np.zeros((0, DIMENSIONS), dtype=np.int16), *found])


def _mean_words(texts: list[str]) -> Vectors:
    tokenizer, weights = _model()
    found = [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    words = np.fromiter((word for one in found for word in one), dtype=np.int64)
    known, places = np.unique(words, return_inverse=True)
    starts = np.cumsum([0, *map(len, found)])
    counts = sparse.csr_matrix((np.ones(len(words)), places, starts), (len(texts), len(known)))
    # Weights are of 16 bits, so sums of them in float64 are exact, in whatever order.
    return np.rint(_scaled(counts @ weights[known].astype(np.float64))).astype(np.int16)


def _scaled(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    return sums * (WORDS_LENGTH / np.where(lengths == 0, 1, lengths))


@cache
def _folder() -> Path | None:
    """Return where the package's files are, without importing it."""
    found = importlib.util.find_spec("wordllama")
    folders = found and found.submodule_search_locations
    return Path(folders[0]) if folders else None


@cache
def _model() -> tuple[Any, npt.NDArray[np.float16]]:
    """Return how texts become words, and the weights of words [words, dimensions]."""
    # Loaded only where texts are compared: most processes and many problems have none.
    from safetensors import safe_open  # noqa: PLC0415
    from tokenizers import Tokenizer  # noqa: PLC0415

    folder = _folder()
    if folder is None:
        raise FileNotFoundError("the package wordllama is not installed")
    tokenizer = Tokenizer.from_file(
        str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # It would keep 10,000 texts taken apart, 80 MB; vectors are kept here, and texts nowhere.
    tokenizer.model._resize_cache(0)  # noqa: SLF001 - tokenizers 0.23 has no other way after loading
    with safe_open(folder / "weights" / "l2_supercat_256.safetensors", framework="numpy") as file:
        weights = file.get_slice("embedding.weight")[:, :DIMENSIONS]
    return tokenizer, weights


def _by_words(texts: list[str], goals: list[str], given: tuple[Given, Given] | None) -> Measure:
    known = given or (None, None)
    both = [
        vectors(several, brought).astype(np.float32)
        for several, brought in zip((texts, goals), known, strict=True)
    ]
    squares = [np.einsum("ij,ij->i", one, one).astype(np.float64) for one in both]
    return Shared.of(Dense(*both), *squares)


# Runs of letters.


def _by_letters(texts: list[str], goals: list[str], _given: tuple[Given, Given] | None) -> Measure:
    counts = _ngrams([*texts, *goals])
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts @ sparse.diags(np.log1p(counts.shape[0] / np.maximum(1, frequency)))
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    whole = (
        (sparse.diags(LETTERS_LENGTH / np.where(lengths == 0, 1, lengths)) @ weighted)
        .rint()
        .tocsr()
    )
    squares = np.asarray(whole.multiply(whole).sum(axis=1)).ravel()
    size = len(texts)
    return Shared.of(Sparse.of(whole[:size], whole[size:]), squares[:size], squares[size:])


def _ngrams(texts: Sequence[str]) -> Any:
    """Return how often each text holds each run of letters, dampened, as a sparse matrix."""
    places: dict[str, int] = {}
    rows, columns, counts = [], [], []
    for row, text in enumerate(texts):
        words = f" {text} " if text else ""
        found = Counter(
            words[start : start + size] for size in NGRAMS for start in range(len(words) - size + 1)
        )
        for gram, count in found.items():
            rows.append(row)
            columns.append(places.setdefault(gram, len(places)))
            counts.append(1 + np.log(count))
    return sparse.csr_matrix((counts, (rows, columns)), shape=(len(texts), max(1, len(places))))


type Comparing = Callable[[list[str], list[str], tuple[Given, Given] | None], Measure]

LIKENESS: Mapping[str, Comparing] = MappingProxyType({WORDS: _by_words, LETTERS: _by_letters})
