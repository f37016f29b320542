"""Text to terms: one analysis for the full-text index, the vectors and every feature, so that they mean the same."""

import re
from functools import lru_cache

#: Words of a natural language or a number; each Han, Kana or Hangul character by itself, because no space divides them.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+"
)

#: Where an identifier in CamelCase divides: "HTTPServer" into HTTP and Server, "getLogger" into get and Logger.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

#: A longer word is a digest or a blob, and no term: 1,024 is far inside SQLite's own token limit of 32 kB.
_MAX_WORD_CHARACTERS = 64

#: English function words. They carry no topic, and an OR query with "the" in it reads every document.
_FUNCTION_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both but
by can could did do does doing down during each either few for from further had has have having he her here
hers him his how i if in into is it its itself just may me might more most must my no nor not of off on once
one only or other our out over own same shall she should so some such than that the their them then there
these they this those through to too under until up upon us very was we were what when where which while who
whom whose why will with within without would you your s t e g ie eg etc
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())


@lru_cache(maxsize=200_000)
def _term(word: str) -> str:
    """The term of a folded word: plural endings removed.

    Source: D. Harman, "How effective is suffixing?", JASIS 42(1), 1991, the "S" stemmer. It conflates "queue" with
    "queues" and leaves identifiers alone, which stronger stemmers do not.
    """
    if len(word) > 3:
        if word.endswith("ies") and word[-4] not in "ae":
            return word[:-3] + "y"
        if word.endswith("es") and word[-3] not in "aeo":
            return word[:-1]
        if word.endswith("s") and word[-2] not in "us":
            return word[:-1]
    return word


@lru_cache(maxsize=200_000)
def _terms_of_word(word: str) -> tuple[str, ...]:
    parts = _CAMEL.sub(" ", word).split() if not (word.islower() or word.isupper()) else [word]
    return tuple(_term(part.casefold()) for part in parts if len(part) <= _MAX_WORD_CHARACTERS)


def terms(text: str) -> list[str]:
    """The terms of `text` in order, repeats and stop words included.

    Identifiers are divided at underscores, dots and CamelCase humps; case is folded; plural endings are removed.
    """
    return [term for word in _WORD.findall(text) for term in _terms_of_word(word)]


def content_terms(text: str) -> list[str]:
    """The terms of `text` in order, repeats included, without stop words."""
    return [term for term in terms(text) if term not in STOPWORDS]
