"""Every file of the configs tree composes, validates, builds and takes one step."""

from dataclasses import fields

import numpy as np
import polars
import pytest
import torch

from bptrain.config.component import GROUPS
from bptrain.config.compose import compose, settings_of
from bptrain.config.tree import Tree, config_root
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Stepped

FILES = sorted(path.relative_to(config_root()).with_suffix("").as_posix() for path in config_root().rglob("*.yaml"))

BITS = ("data.standardize=false", "data.binarize=0.5")
# What a file needs beside it to make a whole run.
NEEDS = {
    "data/diabetes": ["loss=mse"],
    "model/custom": [
        "data=iris",
        "model.path=torch.nn:Linear",
        "trust=torch.nn",
        "model.arguments={in_features: 4, out_features: 3}",
    ],
    "loss/mse": ["data=diabetes"],
    "loss/l1": ["data=diabetes"],
    "loss/huber": ["data=diabetes"],
    "model/activation/softmax2d": ["model=cnn"],
    "model/ctrnn": ["data=iris"],
    "model/gp": ["data=diabetes", "loss=marginal_likelihood"],
    "loss/marginal_likelihood": ["data=diabetes", "model=gp"],
    "data/limit_cycle": ["loss=mse"],
    "data/kdd_anomaly": ["loss=mse"],
    "data/cmudict": ["model=seq2seq", "data.words=300"],
    "data/sentiment": ["model=lstm"],
    "data/brown": ["model=gru", "model.output=each", "data.categories=[humor]"],
    "loss/contrastive_divergence": ["model=rbm", *BITS],
    "loss/elbo": ["model=vae", *BITS],
    "loss/crf": ["model=crf", "model.hidden=4", "data=brown", "data.categories=[humor]"],
    "model/autoencoder": ["loss=mse"],
    "model/crf": ["model.hidden=4", "loss=crf", "data=brown", "data.categories=[humor]"],
    "model/neuron": ["loss=bce", "data=breast_cancer"],
    "model/rbm": ["loss=contrastive_divergence", *BITS],
    "model/vae": ["loss=elbo", *BITS],
    "model/seq2seq": ["data=cmudict", "data.words=300"],
    "optimizer/bfgs": ["model.sizes=[4]"],
    **{f"data/{name}": ["loss=mse"] for name in ("sunspots", "elnino", "co2", "co2_over_time")},
}


def overrides(file, folder):
    group, _, option = file.rpartition("/")
    if file == "data/csv":
        rows = [f"{i % 7},{'ab'[i % 2]},{i % 3 - 1.5}" for i in range(60)]
        (folder / "my.csv").write_text("x,kind,y\n" + "\n".join(rows) + "\n")
        return ["data=csv", f"data.path={folder / 'my.csv'}", "data.target=kind"]
    if file == "data/parquet":
        columns = {"x": [i % 7 for i in range(60)], "kind": ["ab"[i % 2] for i in range(60)]}
        (folder / "cache").mkdir(exist_ok=True)
        polars.DataFrame(columns).write_parquet(folder / "my.parquet")
        return ["data=parquet", f"data.path={folder / 'my.parquet'}", "data.target=kind", f"data.folder={folder}"]
    if file == "data/npy":
        np.save(folder / "x.npy", np.arange(240, dtype=np.uint8).reshape(60, 4))
        np.save(folder / "y.npy", np.arange(60) % 3)
        return ["data=npy", f"data.path={folder / 'x.npy'}", f"data.target={folder / 'y.npy'}"]
    if file == "data/series":
        (folder / "my.csv").write_text("y\n" + "\n".join(str(i % 7) for i in range(300)) + "\n")
        return ["data=series", f"data.path={folder / 'my.csv'}", "data.column=y", "loss=mse"]
    if group == "model/kernel":
        return [*overrides("model/gp", folder), f"{group}={option}", "model.jitter=0.1"]
    return [f"{group}={option}", *NEEDS.get(file, [])] if group else []


def test_the_tree_has_all_its_files():
    options = {group: Tree.of(None).options(group) for group in Tree.of(None).groups()}
    assert options.keys() == {*GROUPS} - {"model/layer"} | {"fit", "check", "sweep", "experiment"}
    assert all(options.values())
    assert len(FILES) == sum(map(len, options.values())) + 1


# Presets have tests of their own.
@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("experiment/")])
def test_it_composes_validates_builds_and_takes_a_verified_step(file, tmp_path, built):
    words = [*overrides(file, tmp_path), "check.rows=6", "check.strict=true", "threads=1"]
    run = built(settings_of(compose(words)))
    records = fit(run)
    checked, stepped = next(records), next(records)
    assert isinstance(checked, Checked)
    assert checked.report.verdict in ("verified", "contract"), checked.report
    assert isinstance(stepped, Stepped)
    assert stepped.loss.isfinite()
    assert all(parameter.isfinite().all() for parameter in run.state.model.parameters())
    assert torch.is_grad_enabled()


def test_every_key_of_the_settings_stands_in_the_tree():
    """So that `key=value` works for each of them, and `--cfg job` shows them all."""
    resolved = compose([]).resolved
    settings = settings_of(compose([]))
    assert set(resolved) == {field.name for field in fields(settings)}
    for group in ("fit", "check", "sweep"):
        assert set(resolved[group]) == {field.name for field in fields(getattr(settings, group))}
    assert set(resolved["fit"]["checkpoint"]) == {field.name for field in fields(settings.fit.checkpoint)}
