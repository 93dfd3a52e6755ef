"""Configs: what composes, and what is said of what does not."""

import subprocess
import sys

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError

# (overrides, words that must appear): one message for each, all problems of a config at once.
WRONG = [
    ("modle=mlp", ["modle", "Did you mean 'model'"]),
    ("model.szies=[3]", ["model.szies", "Did you mean 'sizes'"]),
    ("fit.epohs=3", ["fit.epohs", "Did you mean 'epochs'"]),
    ("fit.checkpoint.evry=3", ["fit.checkpoint.evry", "Did you mean 'every'"]),
    ("data.split.tset=0.1", ["data.split.tset", "Did you mean 'test'"]),
    ("model.activation.nmae=relu", ["model.activation.nmae", "Did you mean 'name'"]),
    ("model=mpl", ["model", "'mpl'", "Did you mean 'mlp'"]),
    ("model/activation=rleu", ["model/activation", "Did you mean 'relu'"]),
    ("model/activtion=relu", ["model/activtion", "Did you mean 'model/activation'"]),
    ("model.activation=rleu", ["model.activation", "Did you mean 'relu'"]),
    ("model.name=mpl", ["model.name", "there is no model 'mpl'", "Did you mean 'mlp'"]),
    ("model.name=linear", ["model.name", "there is no model 'linear'", "Known: autoencoder, cnn"]),
    ("optimizer={lr:1}", ["optimizer", "mapping", "optimizer=NAME", "optimizer.KEY=VALUE"]),
    ("loss=null", ["loss", "'null'", "mse"]),
    ("fit.checkpoint.keep=[lst]", ["fit.checkpoint.keep", "there is no state 'lst'", "Did you mean 'last'"]),
    ("fit.checkpoint.keep=best", ["fit.checkpoint.keep", "a list [...]"]),
    ("threads=100000", ["threads", "at most 1024"]),
    ("experiment=iris_mpl", ["experiment", "Did you mean 'iris_mlp'"]),
    ("fit.batch_size=0", ["fit.batch_size", "at least 1", "not 0"]),
    ("fit.epochs=abc", ["fit.epochs", "an integer", "'abc'"]),
    ("fit.epochs=1.5", ["fit.epochs", "an integer", "1.5"]),
    ("fit.epochs=true", ["fit.epochs", "an integer", "true"]),
    ("optimizer.lr=-0.1", ["optimizer.lr", "at least 0", "-0.1"]),
    ("optimizer.lr=nan", ["optimizer.lr", "finite"]),
    ("optimizer.lr=inf", ["optimizer.lr", "finite"]),
    ("optimizer.lr=null", ["optimizer.lr", "a number", "null"]),
    ("optimizer.betas=[0.9,1.5]", ["optimizer.betas", "below 1"]),
    ("model.sizes=8", ["model.sizes", "a list"]),
    ("model.sizes=[8,-1]", ["model.sizes", "at least 1", "-1"]),
    ("model.norm=bacth", ["model.norm", "none or batch or layer", "Did you mean 'batch'"]),
    ("model.dropout=1", ["model.dropout", "below 1"]),
    ("model=3", ["model", "3"]),
    ("data=null", ["data"]),
    ("fit=null", ["fit"]),
    ("~optimizer", ["optimizer", "missing"]),
    ("seed=-1", ["seed", "at least 0"]),
    ("name=../x", ["name", "../x"]),
    ("name=a/b", ["name", "a/b"]),
    ("name=''", ["name"]),
    ("device=gpu", ["device", "gpu", "cuda"]),
    ("hydra.run.dir=/tmp/x", ["hydra.run.dir", "name="]),
    ("hydra/launcher=joblib", ["hydra", "-m"]),
    ("model.sizes=[3", ["model.sizes=[3"]),
    ("seed=${nothing}", ["nothing"]),
    ("seed=???", ["seed", "is missing"]),
    ("optimizer.lr=1" + "0" * 400, ["optimizer.lr", "a finite number"]),
    ("seed=" + "9" * 5000, ["seed=9", "too many digits"]),
    ("fit.epochs=3000000000", ["fit.epochs", "at most 2147483647"]),
    ("seed=9223372036854775808", ["seed", "at most 9223372036854775807"]),
    ("model.sizes=[10000000]", ["model.sizes", "at most 1048576"]),
    ("model.sizes=x", ["model.sizes", "of integers, each at least 1 and at most"]),
    ("optimizer.betas=x", ["optimizer.betas", "of numbers, each at least 0"]),
    ("device=cuda:99999999999999999999", ["device", "cuda:9999"]),
    ("scheduler.warmup=1e300", ["scheduler.warmup", "at most 1e+06"]),
    ("data.path=donn\xe9es.csv", ["can't be read from '\xe9' on", "\"data.path='donn\xe9es.csv'\""]),
    ("data.path=a(1).csv", ["\"data.path='a(1).csv'\""]),
    ("data.path=[bold].csv", ["\"data.path='[bold].csv'\""]),
    ("data.path=a=b.csv", ["from '=' on", "\"data.path='a=b.csv'\""]),
    ("data.separator=;", ["from ';' on", "\"data.separator=';'\""]),
    ("name=it's", ["\"name='it\\'s'\""]),
    ("data.path=a,b.csv", ["several values", "-m", "\"data.path='a,b.csv'\""]),
    ("~fit.epohcs", ["'~fit.epohcs'", "Did you mean 'fit.epochs'"]),
    ("~fit.epochs=3", ["'~fit.epochs=3'", "60", "not 3", "~fit.epochs"]),
    ("~", ["'~'", "names no key"]),
    ("=3", ["'=3'", "names no key"]),
    ("experimnt=iris_mlp", ["experimnt", "Did you mean 'experiment'"]),
    ("model=jnn", ["'jnn'", "Did you mean 'cnn' or 'rnn'"]),
    ("model=MLP", ["'MLP'", "Did you mean 'mlp'"]),
    ("6evice=cpu", ["'6evice'", "can't be a key", "Did you mean 'device'"]),
    ("fit.2epochs=3", ["'fit.2epochs'", "can't be a key", "Did you mean 'fit.epochs'"]),
    ("model.sizes[0]=3", ["'model.sizes[0]'", "can't be a key", "list as a whole"]),
    ("+~seed=3", ["'+~seed'", "can't be a key"]),
    ("seed=f(x)", ["f(x) has no value", "Unknown function 'f'", "\"seed='f(x)'\""]),
    ("model.sizes=[range(3)]", ["several values inside of one", "-m"]),
    ("seed@x=3", ["'seed@x=3'", "'seed' is no group"]),
    ("model@hydra=mlp", ["'model@hydra=mlp'", "no hydra node"]),
    ("~data@x", ["'data@x'", "is not chosen"]),
    ("~sweep=0", ["'~sweep=0'", "0 is no option", "~sweep"]),
    ("data.split=[]", ["data.split", "a list where a group of settings must be"]),
    ("name='\u202e\u0301'", ["name", "'\\u202e\u0301'"]),
    ("+x={null:1}", ["x", "a key that is no text"]),
    ("name='${..}'", ["name", "no interpolation that can be read"]),
]


@pytest.mark.parametrize(("override", "words"), WRONG, ids=[override for override, _ in WRONG])
def test_a_wrong_override_gets_one_message_that_says_where_and_what(override, words):
    with pytest.raises(RequestError) as caught:
        settings_of(compose([override]))
    assert len(caught.value.problems) == 1
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a" * 100_000 + "=1"], "makes the command line too long"),
        (["model.sizes=[" + "1," * 5_000 + "1]"], "makes the command line too long"),
        (["x" * 5_000 + "=1"], "is not a key of the config"),
        (["model" + ".b" * 5_000 + "=1"], "more than 32 levels of brackets or dots"),
        (["x/" * 2_000 + "y=1"], "there is no group"),
        ([f"{'x' * 30}{i}=1" for i in range(400)], "and 390 more"),
    ],
    ids=lambda of: str(of)[:40],
)
def test_words_without_end_are_refused_in_a_few_short_lines(words, said):
    with pytest.raises(RequestError) as caught:
        settings_of(compose(words))
    lines = str(caught.value).split("\n")
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 400
    assert said in str(caught.value)


def test_all_problems_of_a_config_are_said_at_once():
    with pytest.raises(RequestError) as caught:
        settings_of(compose(["modle=mlp", "fit.batch_size=0", "optimizer.lr=-1", "model.szies=1"]))
    assert {problem.where for problem in caught.value.problems} == {
        "modle",
        "fit.batch_size",
        "optimizer.lr",
        "model.szies",
    }


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["model=mpl", "fit.epohs=3", "model.hidden=3"], ["model", "fit.epohs"]),
        (["data=irsi", "model.szies=[3]"], ["data", "model.szies"]),
        (["model/activation=rleu", "model.szies=[3]", "model.activation.slope=1"], ["model/activation", "model.szies"]),
        (["model/activtion=prelu", "model.activation.init=1", "seed=-1"], ["'model/activtion=prelu'", "seed"]),
        (["experiment=mnist1d_gur", "model.hidden=3", "fit.epohs=3"], ["experiment", "fit.epohs"]),
        (["model=gru,lstm", "model.hidden=3", "seed=-1"], ["'model=gru,lstm'", "seed"]),
        (["model=mpl", "model=gru", "loss=msee"], ["model", "loss"]),
        (["a=[1", "seed=-1"], ["'a=[1'", "seed"]),
        (["optimizer={lr:1}", "hydra.verbose=true", "seed=-1"], ["'hydra.verbose=true'", "optimizer", "seed"]),
        (["model=mpl", "name=${nothing}"], ["model"]),
        (["data=csv", "data.target=y", "data.path=\xe9.csv", "seed=-1"], ["'data.path=\xe9.csv'", "seed"]),
        (["name=../x", "device=gpu"], ["name", "device"]),
        (["model=gru", "model/activation=relu"], ["'model/activation'"]),
    ],
    ids=str,
)
def test_a_group_without_such_an_option_hides_no_other_problem_and_makes_none(overrides, where):
    with pytest.raises(RequestError) as caught:
        settings_of(compose(overrides))
    assert [problem.where for problem in caught.value.problems] == where


def test_null_is_no_preset():
    assert settings_of(compose([])).name == "digits_mlp"
    assert settings_of(compose(["experiment=null"])).name == "run"
    assert settings_of(compose(["experiment=null", "model.sizes=[3]"])).model.sizes == (3,)


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["optimizer.lr=1e-2"], "optimizer.lr", 0.01),
        (["optimizer.lr=1"], "optimizer.lr", 1.0),
        (["model=gru", "model.hidden=5"], "model.hidden", 5),
        (
            ["model/activation=leaky_relu", "model.activation.negative_slope=0.2"],
            "model.activation.negative_slope",
            0.2,
        ),
        (["model.activation=gelu"], "model.activation.name", "gelu"),
        (["experiment=mnist1d_cnn", "model.kernel=3"], "model.kernel", 3),
        (["seed=7", "name=run${seed}"], "name", "run7"),
        (["fit.clip=null"], "fit.clip", None),
        (["+fit.clip=2"], "fit.clip", 2.0),
        (["+model=gru"], "model.name", "gru"),
        (["++model=cnn"], "model.name", "cnn"),
        (["++experiment=iris_mlp"], "name", "iris_mlp"),
        (["~monitor"], "monitor", None),
        (["fit.clip=2", "~fit.clip"], "fit.clip", None),
        (["~fit.clip", "fit.clip=2"], "fit.clip", 2.0),
        (["data=csv", "data.target=y", "data.path='donn\xe9es.csv'"], "data.path", "donn\xe9es.csv"),
    ],
)
def test_an_override_lands_where_it_says(overrides, path, value):
    found = settings_of(compose(overrides))
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


def test_words_that_are_no_overrides_are_all_named():
    with pytest.raises(RequestError) as caught:
        compose(["a=[1", "b={", "seed=-1"])
    assert [problem.where for problem in caught.value.problems] == ["'a=[1'", "'b={'", "seed"]


def test_composing_loads_no_torch_and_only_the_components_that_are_chosen():
    code = (
        "import sys\n"
        "from bptrain.config.compose import compose, settings_of\n"
        "settings_of(compose(['experiment=mnist1d_gru']))\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'polars', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "of_others = {'bptrain.models.mlp', 'bptrain.data.bundled', 'bptrain.losses.crf'} & set(sys.modules)\n"
        "assert not of_others, of_others\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
