"""Autoencoders: every shape comes back, linear ones reach principal components, and targets are the inputs."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from bptrain.config.component import components
from bptrain.data.bundled import Digits, Iris
from bptrain.data.dataset import Dataset, Part
from bptrain.errors import RequestError
from bptrain.models.activation import GLU, Identity
from bptrain.models.autoencoder import Autoencoder


@pytest.mark.parametrize("shape", [(5,), (2, 7), (3, 5, 9)])
def test_a_dense_one_gives_every_shape_back(shape):
    model = Autoencoder(code=3, sizes=(6, 4)).build(shape, 0)
    x = torch.randn(4, *shape)
    assert model(x).shape == x.shape
    assert model.encoder(x).shape == (4, 3)


@pytest.mark.parametrize("shape", [(2, 13), (2, 8), (1, 8, 8), (3, 9, 14), (2, 1, 5)])
@pytest.mark.parametrize(
    ("channels", "kernel", "activation"), [((4, 6), 3, None), ((5,), 5, GLU()), ((3, 4, 5), 1, GLU())]
)
def test_a_convolutional_one_gives_every_signal_and_image_back(shape, channels, kernel, activation):
    model = Autoencoder("convolutional", code=3, sizes=(), channels=channels, kernel=kernel)
    if activation is not None:
        model = dataclasses.replace(model, activation=activation)
    x = torch.randn(4, *shape)
    network = model.build(shape, 0)
    assert network(x).shape == x.shape
    assert network.encoder(x).shape == (4, 3)


def test_a_recurrent_one_gives_signals_back_out_of_the_code_alone():
    model = Autoencoder("recurrent", code=3, hidden=5).build((2, 7), 0)
    x = torch.randn(4, 2, 7)
    assert model(x).shape == x.shape
    code = model.encoder(x)
    assert code.shape == (4, 3)
    states, _ = model.decoder.layers(torch.stack([code] * 7, 1))
    torch.testing.assert_close(model(x), model.decoder.head(states).transpose(1, 2))


def test_the_layers_of_the_decoder_are_those_of_the_encoder_in_reverse():
    model = Autoencoder(code=3, sizes=(6, 4)).build((5,), 0)
    assert [m.weight.shape for m in model.encoder.modules() if isinstance(m, nn.Linear)] == [(6, 5), (4, 6), (3, 4)]
    assert [m.weight.shape for m in model.decoder.modules() if isinstance(m, nn.Linear)] == [(4, 3), (6, 4), (5, 6)]


def test_code_and_output_are_linear():
    model = Autoencoder(code=3, sizes=(6,)).build((5,), 0)
    x = torch.randn(7, 5)
    first, back = model.encoder.layers[0].linear, model.decoder.layers[0].linear
    code = model.encoder.code(torch.relu(first(x)))
    torch.testing.assert_close(model(x), model.decoder.head(torch.relu(back(code))))


@pytest.mark.parametrize("sizes", [(), (9,)])
def test_a_linear_one_reaches_the_error_of_principal_components_and_no_less(sizes):
    x = np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([4, 3, 2, 1, 0.5, 0.25]) + 1
    pca = PCA(2).fit(x)
    best = np.square(x - pca.inverse_transform(pca.transform(x))).mean()
    torch.manual_seed(0)
    model = Autoencoder(code=2, sizes=sizes, activation=Identity()).build((6,), 0).double()
    rows = torch.from_numpy(x)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=400, line_search_fn="strong_wolfe", tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(rows), rows)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(("name", "task"), [("autoencoder", "reconstruction"), ("vae", "density"), ("rbm", "density")])
@pytest.mark.parametrize("data", [Iris(), Digits()])
def test_the_inputs_become_the_targets_in_the_same_parts(name, task, data):
    classified = data.load(3)
    dataset = components("model")[name]().prepared(classified)
    assert dataset.task == task
    assert dataset.classes == ()
    assert dataset.fingerprint != classified.fingerprint
    for part, examples in dataset.parts.items():
        assert torch.equal(examples.inputs, classified.parts[part].inputs)
        assert torch.equal(examples.targets, examples.inputs)


def test_in_anomaly_detection_the_target_must_be_the_window():
    x, labels = torch.randn(3, 1, 5), torch.zeros(3, dtype=torch.int64)
    window = Dataset("pulse", "anomaly", (1, 5), 5, (), {"train": Part(x, x, labels)}, (1.0,), "")
    assert Autoencoder().prepared(window) is window
    following = dataclasses.replace(window, parts={"train": Part(x, x[:, :, 0], labels)})
    with pytest.raises(RequestError, match=r"data\.target=window"):
        Autoencoder().prepared(following)


REFUSED = [
    (lambda: Autoencoder("convolutional").build((5,), 0), "model signals images (5,) model.kind=dense"),
    (
        lambda: Autoencoder("recurrent").build((1, 5, 5), 0),
        "signals (1, 5, 5) model.kind=convolutional model.kind=dense",
    ),
    (lambda: Autoencoder("recurrent").build((5,), 0), "model signals (5,). model.kind=dense fits."),
    (lambda: Autoencoder(kernel=4), "model.kernel 4 odd"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(RequestError) as error:
        build()
    assert all(word in str(error.value) for word in words.split())
