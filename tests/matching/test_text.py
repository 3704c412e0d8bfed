"""Texts: read from disk and nowhere else, exact, and kept."""

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from services.matching import inputs, text
from services.matching.measures import Dense
from shared.schemas.matching import Problem
from tests.support.pools import problem, solve

needs_words = pytest.mark.skipif(
    text.WORDS not in text.names(), reason="wordllama has no wheel for this machine"
)
TEXTS = ["Head of data", "I sell cars in Bavaria", "", "Ärztin · 医師 · 🙂"]


@pytest.fixture
def _fresh() -> Iterator[None]:
    """Forget what the process knows, before and after."""
    for forget in (text._kept.clear, text._folder.cache_clear, text._model.cache_clear):
        forget()
    yield
    for forget in (text._kept.clear, text._folder.cache_clear, text._model.cache_clear):
        forget()


def refuse(*_args: Any, **_named: Any) -> Any:
    raise AssertionError("nothing here may ask the network")


@needs_words
@pytest.mark.usefixtures("_fresh")
def test_vectors_are_made_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)

    assert text.vectors(TEXTS).shape == (4, 128)


@needs_words
def test_no_socket_is_opened_and_no_client_of_a_network_loaded() -> None:
    clients = {"huggingface_hub", "hf_xet", "httpx2", "httpx", "requests", "urllib3", "wordllama"}
    program = (
        "import sys; asked = []; "
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and asked.append(event)); "
        "from services.matching import solver, text; "
        "assert not {'tokenizers', 'safetensors'} & sys.modules.keys(); "
        "measure = text.likeness(text.WORDS, ['here'], ['there']); "
        "assert measure.block(slice(0, 1), slice(0, 1)).shape == (1, 1); "
        "assert not asked, asked; "
        f"assert not {clients!r} & sys.modules.keys()"
    )

    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own words


@needs_words
@pytest.mark.usefixtures("_fresh")
def test_a_text_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    once = text.vectors(["Head of data", "head of  DATA", "another"])
    monkeypatch.setattr(text, "_model", refuse)

    again = text.vectors(["another", "Head of Data"])

    assert (once[0] == once[1]).all()
    assert (again == once[[2, 0]]).all()


@needs_words
@pytest.mark.usefixtures("_fresh")
def test_only_the_newest_vectors_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "KEPT", 3)

    text.vectors(["one", "two"])
    text.vectors(["two", "three", "four"])

    assert len(text._kept) == 3
    assert text.vectors(["one", "two", "three", "four", "five"]).shape == (5, 128)


@needs_words
def test_vectors_are_short_enough_for_exact_products() -> None:
    words = text.vectors([*TEXTS, "word " * 400, "a", "data data data"]).astype(np.int64)

    assert np.square(words).sum(axis=1).max() <= Dense.LONGEST**2


def everybody(model: str) -> np.ndarray:
    size = slice(0, len(TEXTS))
    return np.asarray(text.likeness(model, TEXTS, TEXTS).block(size, size))


@pytest.mark.parametrize("model", text.names())
def test_a_text_is_most_like_itself_and_an_empty_one_like_nothing(model: str) -> None:
    likeness = everybody(model)

    assert likeness.diagonal().tolist() == pytest.approx([1, 1, 0, 1], abs=1e-12)
    assert (likeness >= 0).all()
    assert (likeness[2] == 0).all()
    assert likeness[0, 1] < 0.9


def test_products_are_exact_in_any_order() -> None:
    chance = np.random.default_rng(1)
    vectors = text._scaled(chance.normal(size=(40, 128))).round()
    products = (vectors.astype(np.int64) @ vectors.astype(np.int64).T).astype(np.float32)
    for order in (np.arange(128), np.argsort(-np.abs(vectors[0])), chance.permutation(128)):
        moved = np.ascontiguousarray(vectors[:, order].astype(np.float32))
        made = Dense(moved, moved)

        everyone, first = slice(0, 40), np.repeat(np.arange(40), 40)

        assert (made.block(everyone, everyone) == products).all()
        assert (made.pairs(first, np.tile(np.arange(40), 40)) == products.ravel()).all()


def faults(model: str | None) -> list[tuple[str, str]]:
    values = problem()
    values["policy"]["text_model"] = model
    found = inputs.faults_of(Problem.model_validate(values), max_cells=10_000)
    return [(one.pointer, one.code) for one in found]


@pytest.mark.parametrize("model", [None, *text.names()])
def test_a_policy_may_name_a_model(model: str | None) -> None:
    assert faults(model) == []


def test_a_policy_that_names_an_unknown_model_is_told_where() -> None:
    assert faults("tea-leaves") == [("#/policy/text_model", "unknown_text_model")]


@pytest.mark.usefixtures("_fresh")
def test_without_the_package_letters_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    assert text.name_of(None) == text.LETTERS
    assert faults(text.WORDS) == [("#/policy/text_model", "unknown_text_model")]
    assert solve(problem()).versions.text_model == text.LETTERS


def test_a_solution_names_the_model_it_was_made_with() -> None:
    values = problem()
    values["policy"]["text_model"] = text.LETTERS

    assert solve(values).versions.text_model == text.LETTERS
    assert solve(problem()).versions.text_model == text.names()[0]
