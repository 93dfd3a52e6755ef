"""Other trainers on the same network, data, batch size and epochs, with as little logging as they allow.

All take Adam with one rate, shuffle, and judge the validation part after each epoch but for scikit-learn, which trains
alone. Each calls `after` at the end of an epoch, and imports its package itself, so that it may be missing.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from plain import Examples
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

After = Callable[[], object]


@dataclass(frozen=True)
class Task:
    """What is to be trained; `sizes` are those of a perceptron's hidden layers, if it is one."""

    network: nn.Module
    train: Examples
    validation: Examples
    epochs: int
    batch_size: int
    lr: float
    sizes: tuple[int, ...]

    def loader(self) -> DataLoader:
        return DataLoader(TensorDataset(*self.train), self.batch_size, shuffle=True)

    def held_out(self) -> DataLoader:
        """The validation part as one batch."""
        return DataLoader(TensorDataset(*self.validation), len(self.validation[0]))


def lightning(task: Task, after: After) -> None:
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss_of = task.network, nn.CrossEntropyLoss()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return self.loss_of(self.network(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor], index: int) -> None:
            outputs = self.network(batch[0])
            self.log("loss", self.loss_of(outputs, batch[1]))
            self.log("accuracy", (outputs.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Adam:
            return Adam(self.network.parameters(), task.lr)

        def on_train_epoch_end(self) -> None:
            after()

    silent = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = lightning.Trainer(
        max_epochs=task.epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, **silent
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of few workers, and of what it calls itself
        trainer.fit(Module(), task.loader(), task.held_out())


def skorch(task: Task, after: After) -> None:
    import skorch
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    class Net(skorch.NeuralNetClassifier):
        def on_epoch_end(self, *_: object, **__: object) -> None:
            after()

    net = Net(
        task.network,
        criterion=nn.CrossEntropyLoss,
        optimizer=Adam,
        lr=task.lr,
        max_epochs=task.epochs,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=len(task.validation[0]),
        train_split=predefined_split(Dataset(*task.validation)),
        callbacks="disable",
    )
    net.fit(task.train[0], task.train[1])


def ignite(task: Task, after: After) -> None:
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Accuracy, Loss

    loss_of = nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(task.network, Adam(task.network.parameters(), task.lr), loss_of)
    judge = create_supervised_evaluator(task.network, {"accuracy": Accuracy(), "loss": Loss(loss_of)})
    held_out = task.held_out()

    @trainer.on(Events.EPOCH_COMPLETED)
    def judged() -> None:
        judge.run(held_out)
        after()

    trainer.run(task.loader(), max_epochs=task.epochs)


def keras(task: Task, after: After) -> None:
    """Layers of its own, and its default way to run, which on torch is call by call."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    layers = keras.layers
    shape = task.train[0].shape[1:]
    if task.sizes:
        inside = [layers.Flatten(), *(layers.Dense(size, activation="sigmoid") for size in task.sizes)]
    elif len(shape) == 3:
        inside = []
        for channels in (16, 32):
            inside += [layers.Conv2D(channels, 3, padding="same", use_bias=False, data_format="channels_first")]
            inside += [layers.BatchNormalization(axis=1), layers.ReLU()]
            inside += [layers.MaxPooling2D(data_format="channels_first")]
        inside += [layers.Flatten()]
    else:
        kind = type(next(m for m in task.network.modules() if isinstance(m, nn.RNNBase))).__name__
        inside = [layers.Reshape((shape[-1], 1)), getattr(layers, kind)(64)]  # (B, 1, T) -> (B, T, 1) -> (B, 64)
    model = keras.Sequential([keras.Input(shape), *inside, layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(task.lr), loss, metrics=["accuracy"])

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, *_: object) -> None:
            after()

    (x, y), held_out = ((x.numpy(), y.numpy()) for x, y in (task.train, task.validation))
    size = len(held_out[0])
    model.fit(*(x, y), task.batch_size, task.epochs, 0, [Told()], validation_data=held_out, validation_batch_size=size)


def scikit_learn(task: Task, after: After) -> None:
    """The first epoch is a fit of its own, and the others go on with its weights."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    x, y = task.train[0].flatten(1).numpy(), task.train[1].numpy()
    never = {"tol": 0.0, "n_iter_no_change": task.epochs + 1}  # stops before the last epoch
    network = MLPClassifier(
        task.sizes,
        "logistic",
        alpha=0,
        batch_size=task.batch_size,
        learning_rate_init=task.lr,
        warm_start=True,
        **never,
    )
    with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.set_params(max_iter=1).fit(x, y)
        after()
        network.set_params(max_iter=task.epochs - 1).fit(x, y)


PEERS: dict[str, Callable[[Task, After], None]] = {
    "Lightning": lightning,
    "skorch": skorch,
    "PyTorch-Ignite": ignite,
    "Keras on torch": keras,
    "scikit-learn": scikit_learn,
}
