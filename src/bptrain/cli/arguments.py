"""The words of a command line: the verb, its flags and the overrides."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bptrain.errors import Problem, RequestError, did_you_mean

VERBS = {
    "train": "train a network (the default); with -m, one for each combination of values",
    "check": "verify the gradients and a step of the composed network on its own data; nothing is written",
    "explain": "tell one step, call by call: forward propagation, error, backward propagation, weight adjustment",
    "runs": "list the runs under outputs/",
    "resume": "go on exactly where a run or a sweep has ended",
    "reproduce": "make a run again from its lock, and say whether it is the same to the bit",
}

EXAMPLES = {
    "train": """examples:
  bptrain                                          the default: handwritten digits, three sigmoid layers
  bptrain experiment=mnist1d_cnn seed=3            a preset, and one value of it changed
  bptrain model=gru data=digits optimizer.lr=0.01  other parts: folders of configs/ are groups, files options
  bptrain data=csv data.path=my.csv data.target=y  a file of your own
  bptrain model=custom model.path=my.module:Net trust=my.module  a module of your own, and leave to run it
  bptrain -m optimizer.lr=0.01,0.001 seed=0,1,2    six runs and a table
  bptrain --cfg job                                the whole config, and nothing else""",
    "check": """examples:
  bptrain check experiment=digits_cnn
  bptrain check steps=20 fit.clip=1                twenty steps in memory: loss, gradients, clip factor, update, buffers
  bptrain check precision=bf16 model.norm=layer    which gradients lose digits
  bptrain check model=custom model.path=my.module:Net trust=my.module  a module of your own, and leave to run it
  bptrain check model=custom model.path=my.module:Net trust=my.module data=iris model.arguments.hidden=32

steps, every, rows and strict need no 'check.' in front.""",
    "explain": """examples:
  bptrain explain experiment=iris_mlp model.sizes=[3] rows=2   small enough for every number
  bptrain explain experiment=digits_cnn input=true             the gradient with respect to the input, as a picture
  bptrain explain --format html > step.html                    or json

rows takes so many of the first batch, input shows the gradient that arrives there.""",
    "runs": """examples:
  bptrain runs
  bptrain runs outputs/digits_mlp""",
    "resume": """examples:
  bptrain resume outputs/digits_mlp/2026-11-28_00-10-00
  bptrain resume outputs/digits_mlp/2026-11-28_00-10-00 fit.epochs=120   longer than it was started for

What differs from the run is refused by name (torch, data, threads, a key of the config);
resume.allow=[torch,data] lets that differ.""",
    "reproduce": """examples:
  bptrain reproduce outputs/digits_mlp/2026-11-28_00-10-00

It trains in a fresh directory. What is likely to give other bits (another torch, processor, thread count) is said
first; exit 3 and the first step and tensor that differ, and by how much.""",
}
TAKE_RUN = ("resume", "reproduce")  # verbs whose first word is the directory of a run


EXIT_CODES = "exit codes: 0 fine, 1 the run failed, 2 the request is wrong, 3 gradients are wrong, 130 interrupted"


@dataclass(frozen=True)
class Arguments:
    """A parsed command line. `words` are overrides, for some verbs the directory of a run before them."""

    verb: str
    words: list[str]
    multirun: bool
    cfg: bool
    resolve: bool
    config_dir: str | None
    config_name: str | None
    quiet: bool
    format: str | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(Problem("command line", f"{message}.", "bptrain --help shows what there is."))


def parse(argv: list[str]) -> Arguments:
    """Raises RequestError for a line that means nothing; prints and leaves for --help and --version."""
    parser = _parser(None)
    for word in argv:
        option, equals, _ = word.partition("=")
        if equals and word.startswith("-") and option not in parser._option_string_actions:
            what = f"'{word}' is no option."
            raise RequestError(Problem("command line", what, "Write key=value without the '-'; --help shows options."))
    known = parser.parse_intermixed_args(argv)
    if known.version:
        print(f"bptrain {_version()}")
        raise SystemExit(0)
    words = list(known.words)
    verb = words.pop(0) if words and words[0] in VERBS else None
    if known.help:
        _parser(verb).print_help()
        raise SystemExit(0)
    chosen = verb or "train"
    if chosen != "runs":
        for word in words[1 if chosen in TAKE_RUN else 0 :]:
            if word in VERBS:
                what = f"'{word}' is a verb, and the verb comes first."
                raise RequestError(Problem("command line", what, f"Write bptrain {word} key=value."))
            if "=" not in word and not word.startswith("~"):
                what = f"'{word}' is neither a verb nor key=value."
                raise RequestError(Problem("command line", what, did_you_mean(word, VERBS)))
    if known.multirun and chosen != "train":
        raise RequestError(Problem("-m", f"is for train, not for {chosen}.", "Leave -m out."))
    if known.format and chosen != "explain":
        raise RequestError(Problem("--format", f"is for explain, not for {chosen}.", "Leave --format out."))
    composing = {"--cfg": known.cfg, "--resolve": known.resolve, "--config-dir": known.config_dir}
    composing["--config-name"] = known.config_name
    if chosen in ("runs", *TAKE_RUN) and any(composing.values()):
        flags = [flag for flag, given in composing.items() if given]
        what = f"is for a config, and {chosen} composes none."
        raise RequestError([Problem(flag, what, "Leave it out.") for flag in flags])
    return Arguments(
        chosen,
        words,
        known.multirun,
        known.cfg is not None,
        known.resolve,
        known.config_dir,
        known.config_name,
        known.quiet,
        known.format,
    )


def run_of(arguments: Arguments) -> Path:
    """The directory of the run that comes before the overrides. RequestError when it is none."""
    verb, words = arguments.verb, arguments.words
    if not words or "=" in words[0]:
        raise RequestError(Problem(verb, "which run?", f"Write bptrain {verb} outputs/NAME/DATE_TIME."))
    path = Path(words[0])
    if path.is_symlink() or not path.is_dir():
        raise RequestError(Problem(str(path), "is no directory of a run.", "bptrain runs lists them."))
    if (path / "sweep.json").exists() and verb != "resume":
        raise RequestError(Problem(str(path), "is a sweep.", f"Write bptrain {verb} {path}/0 for one of its runs."))
    return path


def _parser(verb: str | None) -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<11}{what}" for name, what in VERBS.items())
    about = VERBS[verb] if verb else "Trains neural networks from YAML and proves every gradient on the way."
    parser = _Parser(
        prog=f"bptrain {verb}" if verb else "bptrain",
        usage=f"bptrain {verb or '[VERB]'} [key=value ...] [options]",
        description=about + ("" if verb else f"\n\nverbs:\n{verbs}"),
        epilog=f"{EXAMPLES[verb or 'train']}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,  # which help it is depends on the verb, known only after parsing
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this message and leave")
    parser.add_argument("words", nargs="*", metavar="key=value", help="overrides, in Hydra's grammar")
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: a=1,2 b=range(3) c=choice(x,y)")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--format", choices=["text", "html", "json"], help="of what explain tells (text)")
    parser.add_argument("--cfg", "-c", choices=["job"], help="print the composed config and leave")
    parser.add_argument("--resolve", action="store_true", help="with --cfg: interpolations as values")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder of YAML files of your own; it comes first")
    parser.add_argument("--config-name", "-cn", metavar="NAME", help="the config to start from (train)")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    return parser


def _version() -> str:
    import importlib.metadata  # which takes as long as all else that --help does

    return importlib.metadata.version("bptrain")
