"""Sentences of movie reviews with the mean of ten people's ratings (Hutto and Gilbert, ICWSM 2014)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.dataset import Data, Dataset, Part, fingerprint
from bptrain.data.fetched import AGAIN, FOLDER_HELP, fetched
from bptrain.data.sentences import LONGEST, MIN_COUNT, Vocabulary
from bptrain.data.split import SPLIT, Split, divide
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

TOKEN = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def tokenized(text: str) -> list[str]:
    """The tokens of a text in lower case: words, which may have apostrophes inside, and all other signs one by one."""
    return TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Sentiment(Data, name="sentiment"):
    """10,568 sentences, negative or positive by the sign of their rating; 37 of rating 0 are neither and left out.

    Pang and Lee's sentences (2005), rated anew from -4 to 4 for VADER, in vader/movieReviewSnippets_GroundTruth.txt.
    """

    folder: str = setting("datasets", FOLDER_HELP)
    min_count: int = setting(2, MIN_COUNT, minimum=1)
    length: int | None = setting(
        None, "Words that are read of a sentence, null for all; the rest is cut off.", minimum=1, maximum=LONGEST
    )
    split: Split = setting(Split, SPLIT)

    def load(self, seed: int) -> Dataset:
        import torch

        texts, targets = read_sentiment(fetched(self.folder, "vader/movieReviewSnippets_GroundTruth.txt"))
        sentences = [tokenized(text)[: self.length] for text in texts]
        classes = ("negative", "positive")
        rows = divide(targets, classes, self.split, seed)
        vocabulary = Vocabulary((sentences[row] for row in rows["train"]), self.min_count)
        length = max(map(len, sentences))
        parts = {
            part: Part(
                torch.from_numpy(vocabulary.tokens([sentences[row] for row in chosen], length)),
                torch.from_numpy(targets[chosen]),
            )
            for part, chosen in rows.items()
        }
        return Dataset(
            name=self.name,
            task="classification",
            shape=(length,),
            outputs=2,
            classes=classes,
            parts=parts,
            target_scale=(),
            fingerprint=fingerprint(parts),
            vocabulary=vocabulary.words,
        )


def read_sentiment(path: Path) -> tuple[list[str], ndarray]:
    """The texts, and 1 (N,) for those whose rating is above 0; a line has number, rating and text, with tabs between.

    RequestError with the first line that is another.
    """
    import numpy as np

    texts, positive = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise RequestError(Problem(str(path), "is no text in UTF-8.", AGAIN)) from None
    for number, line in enumerate(lines, 1):
        _, rating, text = [*line.split("\t", 2), "", ""][:3]
        try:
            value = float(rating)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not tokenized(text):
            what = "has no number, rating and text with tabs between."
            raise RequestError(Problem(f"{path}:{number}", what, AGAIN))
        if value:
            texts.append(text)
            positive.append(value > 0)
    return texts, np.array(positive, np.int64)
