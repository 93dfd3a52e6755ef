"""Trains every preset and writes docs/results.md: `make results`, or `python benchmarks/results.py [experiment ...]`.

Without names, presets that have finished runs of all their seeds under outputs/ are not trained again (`--again` does).
Each is run by its own command, in a process of its own. What stands beside a figure is published, or is computed here
by benchmarks/baselines_*.py on the very same parts of the data.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from baselines_sklearn import BASELINES, told

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"


@dataclass(frozen=True)
class Row:
    """What a preset shows: a metric of the test part, over so many seeds, and what stands beside it."""

    metric: str
    reference: str
    seeds: int = 5
    remark: str = ""


PAPER = "its paper (arXiv 2011.14439):"
LECUN = "LeCun's page (yann.lecun.com/exdb/mnist):"
FAWAZ = "Ismail Fawaz et al. 2019, MLP, FCN, ResNet:"
SAME = "MLPClassifier of the same shape: {baseline}"
PCA = "PCA of the same width on the same parts:"
ROWS = {
    "digits_mlp": Row("accuracy", SAME),
    "neuron": Row("accuracy", "logistic regression: {baseline}"),
    "neuron_step": Row("accuracy", "perceptron: {baseline}"),
    "iris_mlp": Row(
        "accuracy", SAME, remark="scikit-learn's network stops after 300 epochs; logistic regression has 0.967."
    ),
    "wine_mlp": Row("accuracy", SAME),
    "diabetes_mlp": Row(
        "rmse", "least squares: {baseline}", remark="442 rows: a network gains nothing on a linear model."
    ),
    "digits_cnn": Row("accuracy", "SVC(gamma=0.001), other split: 0.969"),
    "digits_gru": Row("accuracy", "SVC(gamma=0.001), other split: 0.969"),
    "mnist1d_mlp": Row("accuracy", f"{PAPER} 0.68"),
    "mnist1d_cnn": Row("accuracy", f"{PAPER} 0.94"),
    "mnist1d_gru": Row("accuracy", f"{PAPER} 0.91"),
    "mnist_mlp300": Row("accuracy", f"{LECUN} 0.953"),
    "mnist_300_100": Row("accuracy", f"{LECUN} 0.9695"),
    "mnist_mlp800": Row("accuracy", "Simard 2003: 0.984"),
    "mnist_lenet5": Row("accuracy", f"{LECUN} 0.9905"),
    "gunpoint_cnn": Row("accuracy", f"{FAWAZ} 0.927, 1.000, 0.991"),
    "italy_power_cnn": Row("accuracy", f"{FAWAZ} 0.954, 0.961, 0.963"),
    "arrowhead_cnn": Row(
        "accuracy",
        f"{FAWAZ} 0.778, 0.843, 0.845",
        remark="36 series to learn from: seeds differ by more than networks.",
    ),
    "sunspots_gru": Row("mase", "AR(9) 0.697, seasonal-naive 1.242"),
    "elnino_gru": Row("mase", "AR(24) 0.598, seasonal-naive 0.752"),
    "co2_gp": Row(
        "rmse",
        "scikit-learn's GP fitted to the same months: 1.208",
        remark="the same kernel and a likelihood a little higher (log -94.915, scikit-learn stops at -94.943): on "
        "these 121 months the optimum forecasts worse than the point before it.",
    ),
    "limit_cycle_ctrnn": Row("rmse", "none; the deviation is 1.2", 5),
    "sentiment_lstm": Row(
        "accuracy",
        "TF-IDF with logistic regression 0.779, with naive Bayes 0.790",
        remark="8,400 sentences are too few to learn embeddings better than counts of words.",
    ),
    "sentiment_transformer": Row("accuracy", "TF-IDF with logistic regression 0.779", remark="as above."),
    "tagging_gru": Row("token_accuracy", "NLTK book: unigram 0.836, bigram 0.845"),
    "tagging_crf": Row("token_accuracy", "NLTK book: unigram 0.836, bigram 0.845"),
    "tagging_brown": Row("token_accuracy", "most frequent tag 0.917, bigram 0.935", 1),
    "spelling_to_sound": Row(
        "sequence_error_rate",
        "LSTM 2x64 about 0.39, 2x512 about 0.31, Phonetisaurus 0.339 (published, other split)",
        1,
    ),
    "spelling_to_sound_small": Row("sequence_error_rate", "none; of 20,000 words", 5),
    "sounds_in_word": Row("f1", "TF-IDF of letters, logistic regression: 0.899", 1),
    "digits_linear_autoencoder": Row("reconstruction_error", f"{PCA} 0.0243"),
    "digits_autoencoder": Row("reconstruction_error", f"{PCA} 0.0243"),
    "mnist_autoencoder": Row("reconstruction_error", f"{PCA} 0.01683"),
    "digits_vae": Row("nll", "independent pixels: 24.5 nats"),
    "digits_rbm": Row("nll", "independent pixels: 24.5 nats"),
    "anomaly_gru": Row(
        "f1",
        "windows by PCA: 0.18",
        remark="17 of 27 false alarms (seed 0) follow the anomaly within 18 values, while the window still holds it; "
        "the highest error lies in the anomaly for all seeds.",
    ),
    "anomaly_autoencoder": Row("f1", "windows by PCA: 0.18"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", help="those to train; all, without one")
    parser.add_argument("--again", action="store_true", help="train those too that have finished runs")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page of what there is")
    arguments = parser.parse_args()
    unknown = set(arguments.experiments) - ROWS.keys()
    if unknown:
        parser.error(f"no row for {', '.join(sorted(unknown))}")
    for name in [] if arguments.page else arguments.experiments or ROWS:
        if arguments.again or arguments.experiments or finished(name) is None:
            train(name)
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))


def train(name: str) -> None:
    """All seeds of a preset, by its own command."""
    words = [f"experiment={name}", f"seed=range({ROWS[name].seeds})"]
    print(f"bptrain -m {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "bptrain", "-m", *words, "-q"], cwd=ROOT, check=False)
    if done.returncode:
        print(f"{name}: exit {done.returncode}", file=sys.stderr)


def finished(name: str) -> list[dict] | None:
    """The summaries of the last sweep over all seeds of a preset; None without one."""
    for sweep in sorted((ROOT / "outputs" / name / "sweeps").glob("*"), reverse=True):
        found = [json.loads(path.read_text()) for path in sorted(sweep.glob("*/summary.json"))]
        if len(found) == ROWS[name].seeds and all(summary["status"] == "finished" for summary in found):
            return found
    return None


def page() -> str:
    lines = [
        "# Results",
        "",
        "Made by `make results`: mean and deviation over the seeds 0, 1, ... of the test part's figure, with the",
        "weights that were best in validation, on one thread. `verdict` is that of the gradients of the first step.",
        "A figure with a * is the one that the preset's own file states; this page has not run it. What stands beside",
        "a figure was computed on the same parts by `benchmarks/baselines_*.py` unless it is said to be published.",
        "",
        "| experiment | figure | measured | seeds | beside | seconds | verdict |",
        "|---|---|---|---|---|---|---|",
        *(row(name) for name in ROWS),
        "",
        *(f"- `{name}`: {shown.remark}" for name, shown in ROWS.items() if shown.remark),
        "",
    ]
    return "\n".join(lines)


def row(name: str) -> str:
    shown, summaries = ROWS[name], finished(name)
    beside = shown.reference.format(baseline=told(name)) if name in BASELINES else shown.reference
    if summaries is None:
        return f"| `{name}` | {shown.metric} | {stated(name)} * | {shown.seeds} | {beside} | | |"
    values = [summary["test"][shown.metric] for summary in summaries]
    spread = f" +- {stdev(values):.2g}" if len(values) > 1 else ""
    verdicts = ", ".join(sorted({summary["gradients"]["verdict"] for summary in summaries}))
    seconds = mean(summary["seconds"] for summary in summaries)
    measured = f"{mean(values):.4g}{spread}"
    return f"| `{name}` | {shown.metric} | {measured} | {len(values)} | {beside} | {seconds:.1f} | {verdicts} |"


def stated(name: str) -> str:
    """The first figure in the third line of a preset."""
    line = (ROOT / "configs" / "experiment" / f"{name}.yaml").read_text().splitlines()[2]
    found = re.search(r"(?<!\w)\d[\d.]*( \+- [\d.]+)?", line)
    return found[0] if found else "-"


if __name__ == "__main__":
    main()
