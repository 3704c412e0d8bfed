"""What people and programs are called, made safe to stand in a subject, a header or a sentence."""

import re
import unicodedata

LONGEST_NAME = 120
# Control and direction characters, and separators that some readers take for line breaks.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# A name that is an address would be turned into a link by mail programs.
_ADDRESS = re.compile(r"(?i)\b(?:[a-z][a-z0-9+.-]*://|www\.)\S*")
_DOMAIN = re.compile(r"(?i)\b(?:[a-z0-9-]+\.)+[a-z]{2,}/\S*")
_MARKUP = re.compile(r"[<>\"\\]")


def clean(name: str, *, fallback: str = "-") -> str:
    """Return a name without addresses, control characters and line breaks, not too long."""
    shown = unicodedata.normalize("NFC", _UNSEEN.sub(" ", name))
    for refused in (_ADDRESS, _DOMAIN, _MARKUP):
        shown = refused.sub(" ", shown)
    return shorten(" ".join(shown.split()), LONGEST_NAME) or fallback


def address(text: str | None) -> str | None:
    """Return a mail address, or None for what would break out of a header or a calendar line."""
    if text is None or _UNSEEN.search(text) or re.search(r"[\s<>\";,]", text):
        return None
    return text


def shorten(text: str, maximum: int) -> str:
    """Cut a text without parting a letter from its accents."""
    if len(text) <= maximum:
        return text
    end = maximum - 1
    while end and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f"):
        end -= 1
    return text[:end].rstrip() + "…"
