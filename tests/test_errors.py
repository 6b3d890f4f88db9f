"""What a failure says in a table: our own words without the paths of its files, of others' errors the kind alone."""

from pathlib import Path

import pytest

from seriatim.errors import DecoderError, InputError, reason_of

SECRET = Path("archive/DOE^JOHN/IM1.dcm")


@pytest.mark.parametrize("path", [SECRET, SECRET.absolute()])
def test_paths_of_the_files_it_is_about_are_left_out(path: Path) -> None:
    files = {path.parent, path}
    cut = reason_of(DecoderError(f"{path} is truncated: it has no whole pixel data. Copy it again."), files=files)
    assert cut == "The file is truncated: it has no whole pixel data. Copy it again."
    named = reason_of(InputError(f"DECODER_CRASH: {path.name} cannot be decoded. Copy it again."), files=files)
    assert named == "DECODER_CRASH: The file cannot be decoded. Copy it again."
    assert "DOE" not in reason_of(InputError(f"Cannot read {path.absolute()} (FileNotFoundError)."), files=files)


def test_a_name_that_is_a_number_garbles_no_number() -> None:
    text = "BAD_VALUE: 100 of 200 pixels are not finite."
    assert reason_of(InputError(text), files=[Path("200"), Path("pixels")]) == text


def test_the_words_of_other_libraries_are_left_out() -> None:
    assert "Jane" not in reason_of(ValueError("Jane"))
