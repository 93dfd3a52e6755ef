"""Baselines of text: what the presets of sentiment and tagging stand beside, on the very same parts of the data.

`python benchmarks/baselines_text.py` prints, for seeds 0-4 where the split is drawn, the test accuracy of
- sentiment: TF-IDF of words and pairs of words with logistic regression, and with naive Bayes; and both by
  10-fold cross-validation over all sentences;
- tagging: the unigram tagger of the NLTK book (ch. 5), which gives a word the tag it most often has in training,
  and `nn` to a word that is not there; and the bigram tagger, which asks for the word and the tag given before it.
Training is given the training part alone, or the validation part too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from statistics import mean, stdev

import numpy as np
from numpy import ndarray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from bptrain.config.compose import compose, settings_of
from bptrain.data.brown import Brown, Tagged
from bptrain.data.fetched import fetched
from bptrain.data.sentiment import read_sentiment
from bptrain.data.split import Split, divide

SENTIMENT = Split(0.1, 0.1)
TAGGING = {
    "news, full tags": Brown(("news",), "full", split=Split(0.1, 0.1, "order")),
    "whole corpus, base tags": Brown(None, "base", split=Split(0.02, 0.1, "interleaved")),
}


def classifiers() -> dict[str, Pipeline]:
    return {
        "TF-IDF, logistic regression": make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10)),
        "TF-IDF, naive Bayes": make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), MultinomialNB()),
    }


def sentiment() -> None:
    texts, targets = read_sentiment(fetched("datasets", "vader/movieReviewSnippets_GroundTruth.txt"))
    words = np.array(texts, dtype=object)
    for name, classifier in classifiers().items():
        scores: dict[str, list[float]] = {"training": [], "training and validation": []}
        for seed in range(5):
            rows = divide(targets, ("negative", "positive"), SENTIMENT, seed)
            for known, seen in zip(
                scores, (rows["train"], np.concatenate([rows["train"], rows["validation"]])), strict=True
            ):
                classifier.fit(words[seen], targets[seen])
                scores[known].append(classifier.score(words[rows["test"]], targets[rows["test"]]))
        folds = StratifiedKFold(10, shuffle=True, random_state=0)
        whole = cross_val_score(classifier, words, targets, cv=folds).mean()
        shown = ", ".join(f"{mean(s):.4f} +- {stdev(s):.4f} ({known})" for known, s in scores.items())
        print(f"sentiment  {name}: {shown}, {whole:.4f} (10-fold)")


def most_frequent(pairs: Iterable[tuple[Hashable, str]]) -> dict[Hashable, str]:
    """What comes with each key most often, the first of several."""
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for key, tag in pairs:
        counts[key][tag] += 1
    return {key: tags.most_common(1)[0][0] for key, tags in counts.items()}


def accuracies(training: list[Tagged], test: list[Tagged], default: str = "nn") -> dict[str, float]:
    """Share of the test's words that each tagger is right about."""
    unigram = most_frequent(pair for sentence in training for pair in sentence)
    bigram = most_frequent(
        ((before, word), tag)
        for sentence in training
        for (_, before), (word, tag) in zip([("", ""), *sentence], sentence, strict=False)
    )
    right = {"unigram": 0, "bigram": 0}
    for sentence in test:
        before = ""
        for word, tag in sentence:
            alone = unigram.get(word, default)
            before = bigram.get((before, word), alone)
            right["unigram"] += alone == tag
            right["bigram"] += before == tag
    return {name: hits / sum(map(len, test)) for name, hits in right.items()}


def tagging() -> None:
    for name, data in TAGGING.items():
        sentences = data.sentences()
        rows = divide(np.zeros(len(sentences)), (), data.split, 0)

        def of(*parts: str, rows: dict[str, ndarray] = rows, sentences: list[Tagged] = sentences) -> list[Tagged]:
            return [sentences[row] for part in parts for row in rows[part]]

        for known in (("train",), ("train", "validation")):
            found = accuracies(of(*known), of("test"))
            shown = ", ".join(f"{tagger} {score:.4f}" for tagger, score in found.items())
            print(f"tagging    {name}: {shown} ({' and '.join(known)})")


def sounds() -> None:
    """Which phonemes occur in a word: one logistic regression for each, on TF-IDF of 1 to 3 letters."""
    dataset = settings_of(compose(["experiment=sounds_in_word"])).data.load(0)
    names = np.array(["", *dataset.vocabulary[1:]], dtype=object)
    spelled = {part: ["".join(names[row]) for row in p.inputs.numpy()] for part, p in dataset.parts.items()}
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3))
    each = make_pipeline(letters, OneVsRestClassifier(LogisticRegression(C=10)))
    each.fit(spelled["train"], dataset.parts["train"].targets.numpy())
    score = f1_score(dataset.parts["test"].targets.numpy(), each.predict(spelled["test"]), average="micro")
    print(f"sounds     TF-IDF of letters, logistic regression for each phoneme: micro F1 {score:.4f}")


if __name__ == "__main__":
    sentiment()
    tagging()
    sounds()
