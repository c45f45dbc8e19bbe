"""BLEU-4 and ROUGE of one answer against the real one, in percent.

BLEU is NLTK's sentence BLEU over characters, white space included, with smoothing method 3 (Chen
and Cherry, 2014): what MirrorAPI-Bench publishes. sacreBLEU's character tokenizer drops white space
and so computes something else. ROUGE is the F-measure of Google's rouge-score over words (runs of
letters and digits, in any script, in lower case). The released ROUGE figures were computed over
other words with another library and do not compare.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence

from stb_core.errors import UsageError

try:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge_score import tokenizers
    from rouge_score.rouge_scorer import RougeScorer
except ModuleNotFoundError:
    raise UsageError(
        "Fidelity needs the packages nltk and rouge-score.",
        hint="Install them: pip install 'stabletoolbench[fidelity]'.",
    ) from None

SMOOTHING = "method 3"
ROUGE_KINDS = ("rouge_1", "rouge_2", "rouge_l")

_WORD = re.compile(r"\w+")


class _Words(tokenizers.Tokenizer):  # type: ignore[misc]  # the package has no types
    def tokenize(self, text: str) -> list[str]:
        return _words(text)


_rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())
_smoothing = SmoothingFunction().method3


def bleu4(prediction: str, label: str) -> float:
    """Character-level sentence BLEU-4."""
    if not prediction or not label:
        return 0.0
    with warnings.catch_warnings(action="ignore"):  # about texts shorter than four characters
        return 100 * float(sentence_bleu([list(label)], list(prediction), smoothing_function=_smoothing))


def rouge(prediction: str, label: str) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, F-measures."""
    scores = _rouge.score(label, prediction)
    first, second, longest = (100 * scores[name].fmeasure for name in ("rouge1", "rouge2", "rougeL"))
    return first, second, longest


class Overlaps:
    """Fast pairwise scores over a fixed set of texts, to find the text that scores best against all.

    N-grams are counted once per text, not once per pair. Only the search uses them: the text that it finds is
    scored like every other answer.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._lengths = [len(text) for text in texts]
        self._grams = [[_grams(text, size) for size in (1, 2, 3, 4)] for text in texts]
        self._words = [Counter(_words(text)) for text in texts]

    def bleu4(self, prediction: int, label: int) -> float:
        """``bleu4`` of two of the texts by their numbers."""
        length = self._lengths[prediction]
        product, unmatched = 1.0, 1
        for size, mine, theirs in zip((1, 2, 3, 4), self._grams[prediction], self._grams[label], strict=True):
            shared = _shared(mine, theirs)
            total = max(1, length - size + 1)
            if not shared:
                if size == 1:
                    return 0.0
                product /= total * 2**unmatched
                unmatched += 1
            else:
                product *= shared / total
        brevity = 1.0 if length >= self._lengths[label] else math.exp(1 - self._lengths[label] / length)
        return 100 * float(brevity * product**0.25)

    def rouge_1(self, prediction: int, label: int) -> float:
        """ROUGE-1 of two of the texts by their numbers."""
        mine, theirs = self._words[prediction], self._words[label]
        total = mine.total() + theirs.total()
        return 200 * _shared(mine, theirs) / total if total else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))


def _shared(left: Counter[str], right: Counter[str]) -> int:
    small, large = (left, right) if len(left) <= len(right) else (right, left)
    return sum(min(count, large[gram]) for gram, count in small.items() if gram in large)
