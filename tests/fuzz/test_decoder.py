"""The decoders of a client's frames under hostile bytes; ``python -m tests.fuzz.decoder`` is the long run."""

from tests.fuzz.decoder import run


def test_decoders_return_or_raise_what_they_document() -> None:
    run(50_000, 3)
