"""What a program is told, by its environment or by a secret file."""

from pathlib import Path

import pytest

from shared import settings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hand out secrets as files from a folder of the test."""
    monkeypatch.setattr(settings, "SECRETS", tmp_path)
    return tmp_path


def test_the_environment_comes_first(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "mentoring_key").write_text("from the file")
    monkeypatch.setenv("MENTORING_KEY", "from the environment")

    assert settings.told("MENTORING_KEY") == "from the environment"


def test_a_file_serves_where_there_is_no_variable(secrets: Path) -> None:
    (secrets / "mentoring_key").write_text("from the file\n")

    assert settings.told("MENTORING_KEY") == "from the file"


def test_nothing_at_all_is_an_error_that_names_both_places(secrets: Path) -> None:
    with pytest.raises(LookupError, match=f"MENTORING_KEY.*{secrets.name}"):
        settings.told("MENTORING_KEY")
