"""Texts as vectors, for callers who keep them and bring them along with a problem."""

from services.matching import text
from shared.errors import InvalidError, Violation
from shared.schemas.matching import EmbeddingsAnswer, EmbeddingsRequest


def of(request: EmbeddingsRequest) -> EmbeddingsAnswer:
    """Return the vector of each text; a model that has none or is unknown is an `InvalidError`."""
    model = text.name_of(request.model)
    if model not in text.names():
        raise InvalidError(errors=[unknown_model("#/model")])
    if model != text.WORDS:
        detail = f"{model} compares texts with each other; one by itself has no vector."
        raise InvalidError(errors=[Violation("#/model", "no_vectors", detail)])
    return EmbeddingsAnswer(
        model=model,
        dimensions=text.DIMENSIONS,
        vectors=text.encoded(text.vectors(request.texts)),
    )


def unknown_model(pointer: str) -> Violation:
    """Return what is wrong where a model is named that is not here."""
    known = ", ".join(sorted(text.names()))
    return Violation(pointer, "unknown_text_model", f"Known text models: {known}.")
