"""BM25 over the words of API documents (Robertson and Zaragoza, 2009; Lucene's variant)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import bm25s
import numpy as np
import orjson
import snowballstemmer
from bm25s.stopwords import STOPWORDS_EN

from stb_core.values import ApiRef

# The package's own defaults; nothing was tuned.
_FORMULA, _K1, _B = "lucene", 1.5, 0.75
# Smaller differences between scores come from rounding, which differs between machines.
_DIGITS = 9
_STOPWORDS = frozenset(STOPWORDS_EN)
# ``getUserByID_v2`` gives get, user, by, id, v, 2.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


class Bm25:
    """Ranks APIs by the words that their documents share with a text.

    Args:
        texts: the document of each API.
    """

    def __init__(self, texts: Mapping[ApiRef, str]) -> None:
        self._stemmer = snowballstemmer.stemmer("english")
        self._stems: dict[str, str] = {}
        self._refs = tuple(texts)
        documents = [self._words(text) for text in texts.values()]
        apis = [list(ref) for ref in self._refs]
        content = {"k1": _K1, "b": _B, "formula": _FORMULA, "apis": apis, "documents": documents}
        self._hash = hashlib.sha256(orjson.dumps(content)).hexdigest()
        self._index = bm25s.BM25(k1=_K1, b=_B, method=_FORMULA, dtype="float64", backend="numpy")
        if any(documents):
            self._index.index(documents, show_progress=False)
        self._known = frozenset(word for words in documents for word in words)

    @property
    def name(self) -> str:
        """Its name in manifests."""
        return "bm25"

    @property
    def index_hash(self) -> str:
        """Over the words of every document, and the formula."""
        return self._hash

    async def rank(self, texts: Sequence[str], k: int) -> list[list[ApiRef]]:
        """See ``Retriever``; an API that shares no word with a text is not ranked."""
        return [self._rank(text, k) for text in texts]

    def _rank(self, text: str, k: int) -> list[ApiRef]:
        words = [word for word in self._words(text) if word in self._known]
        if not words:
            return []
        scores = np.round(self._index.get_scores(words), _DIGITS)
        order = np.argsort(-scores, kind="stable")[:k]
        return [self._refs[number] for number in order if scores[number] > 0]

    def _words(self, text: str) -> list[str]:
        """The stems of a text, without English stop words."""
        words = (word.lower() for word in _WORD.findall(text))
        return [self._stem(word) for word in words if word not in _STOPWORDS]

    def _stem(self, word: str) -> str:
        if word not in self._stems:
            self._stems[word] = self._stemmer.stemWord(word)
        return self._stems[word]
