"""Texts: read from disk and nowhere else, exact, and kept."""

import base64
import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from services.matching import embeddings, inputs, text
from services.matching.measures import Dense
from shared.errors import InvalidError
from shared.schemas.matching import EmbeddingsRequest, Problem
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


@pytest.mark.parametrize(("kind", "model"), [("words", text.names()[0]), ("letters", text.LETTERS)])
def test_a_policy_may_name_what_is_compared(kind: str, model: str) -> None:
    values = problem()
    values["policy"]["text_model"] = kind

    assert solve(values).versions.text_model == model


# Vectors that a caller brings along.


@needs_words
@pytest.mark.usefixtures("_fresh")
def test_vectors_that_are_brought_along_are_not_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = text.vectors(TEXTS)
    given = text.encoded(made)
    text._kept.clear()
    monkeypatch.setattr(text, "_model", refuse)

    again = text.vectors(TEXTS, given)

    assert (again == made).all()
    assert text._kept == {}


@needs_words
def test_who_brings_some_vectors_gets_the_others_made() -> None:
    made = text.vectors(TEXTS)
    other = text.encoded(text.vectors(["something else"]))[0]

    assert (text.vectors(TEXTS, [text.encoded(made)[0], None, None, None]) == made).all()
    assert (text.vectors(["", "Head of data"], [other, None])[0] == 0).all()
    assert text.vectors([], []).shape == (0, 128)


def vector(*numbers: int) -> str:
    return base64.b64encode(np.resize(np.array(numbers, dtype="<i2"), 128).tobytes()).decode()


def test_a_vector_crosses_the_wire_with_the_low_byte_first() -> None:
    (found,) = text.encoded(np.resize(np.array([1, -2], dtype=np.int16), (1, 128)))

    assert base64.b64decode(found)[:4] == b"\x01\x00\xfe\xff"
    assert found == vector(1, -2)


def test_vectors_are_of_one_size_and_short_enough() -> None:
    given = [vector(1), None, "AAAA", "no base64", "\u00e4", vector(400), vector(-32768), vector(0)]

    assert text.wrong_vectors(given) == [2, 3, 4, 5, 6]
    assert text.wrong_vectors([]) == []


def with_vectors(model: str | None, **columns: Any) -> dict[str, Any]:
    values = problem(mentors=2, mentees=1)
    paths = ["leads engineers", "sells cars", "wants to sell"]
    values["participants"] = {
        "id": values["participants"]["id"],
        "path_now": paths,
        "path_target": paths,
        "vector_model": model,
        **columns,
    }
    values["policy"] = {"soft": [{"rule": "path_fit", "weight": 1}]}
    return values


@needs_words
def test_a_problem_with_vectors_has_the_solution_of_its_texts() -> None:
    plain = with_vectors(None)
    given: list[str | None] = [*text.encoded(text.vectors(plain["participants"]["path_now"]))]
    given[1] = None

    columns = {"path_now_vector": given, "path_target_vector": given}
    brought = solve(with_vectors(text.WORDS, **columns))

    assert brought.model_dump(exclude={"input_hash"}) == solve(plain).model_dump(
        exclude={"input_hash"}
    )


@needs_words
@pytest.mark.parametrize("model", ["another-model", None])
def test_vectors_of_another_model_are_not_used_and_that_is_told(model: str | None) -> None:
    columns = {"path_now_vector": ["not read"] * 3, "path_target_vector": [vector(9)] * 3}

    found = solve(with_vectors(model, **columns))
    usual = solve(with_vectors(None))

    assert found.matches == usual.matches
    (doubt,) = [one for one in found.warnings if one not in usual.warnings]
    assert (doubt.rule, doubt.key) == ("path_fit", "doubt.vectors_of_another_model")
    assert doubt.params == {"given": model, "used": text.WORDS}


def test_a_model_without_vectors_takes_none() -> None:
    values = with_vectors(text.WORDS, path_now_vector=[vector(9)] * 3)
    values["policy"]["text_model"] = text.LETTERS
    plain = with_vectors(None)
    plain["policy"]["text_model"] = text.LETTERS

    assert solve(values).matches == solve(plain).matches


@needs_words
@pytest.mark.parametrize("name", ["path_now_vector", "path_target_vector"])
def test_a_vector_that_is_none_is_told_where(name: str) -> None:
    values = with_vectors(text.WORDS, **{name: [vector(1), None, "AAAA"]})

    found = inputs.faults_of(Problem.model_validate(values), max_cells=10_000)

    assert [(one.pointer, one.code) for one in found] == [
        (f"#/participants/{name}/2", "wrong_vector")
    ]


# As an operation.


@needs_words
def test_texts_become_vectors_by_the_usual_model() -> None:
    answer = embeddings.of(EmbeddingsRequest(texts=TEXTS))

    assert (answer.model, answer.dimensions) == (text.WORDS, 128)
    assert answer.vectors == text.encoded(text.vectors(TEXTS))


@pytest.mark.parametrize(
    ("model", "code"), [(text.LETTERS, "no_vectors"), ("tea-leaves", "unknown_text_model")]
)
def test_a_model_without_vectors_is_refused(model: str, code: str) -> None:
    with pytest.raises(InvalidError) as refused:
        embeddings.of(EmbeddingsRequest(texts=TEXTS, model=model))

    assert [(one.pointer, one.code) for one in refused.value.errors] == [("#/model", code)]
