"""CRF: a linear-chain conditional random field over the features of another network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.models.mlp import MLP
from bptrain.models.model import WIDEST, Model
from bptrain.models.recurrent import GRU, LSTM, RNN

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CRF(Model, name="crf"):
    """Scores of each tag at each step, and of each tag after another; it predicts the tags of the highest sum.

    Lafferty, McCallum and Pereira, "Conditional Random Fields" (2001); over the states of a recurrent network: Huang,
    Xu and Yu (2015). It is trained with loss=crf. `features=mlp` sees each token by itself, so that all it knows of the
    context is the tag before and the one after.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("tagging",)
    reads = ("numbers", "tokens")

    features: Literal["mlp", "rnn", "gru", "lstm"] = setting("gru", "the network below, which scores the tags")
    hidden: int = setting(64, "units of each of its layers and directions", minimum=1, maximum=WIDEST)
    layers: int = setting(1, "its hidden or recurrent layers", minimum=1, maximum=1024)
    bidirectional: bool = setting(True, "whether a recurrent one reads from the end, too")
    dropout: float = setting(0.0, "share of what its head sees set to 0 while training", minimum=0, below=1)
    embedding: int = setting(64, "numbers that stand for a token, in data of tokens", minimum=1, maximum=WIDEST)
    embedding_dropout: float = setting(0.0, "share of these set to 0 while training", minimum=0, below=1)

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        from bptrain.modules.linear_chain import LinearChain

        return LinearChain(self._below().network(dataset, outputs), outputs)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules.linear_chain import LinearChain

        return LinearChain(self._below().build(shape, outputs), outputs)

    def _below(self) -> Model:
        tokens = {"embedding": self.embedding, "embedding_dropout": self.embedding_dropout}
        if self.features == "mlp":
            return MLP((self.hidden,) * self.layers, dropout=self.dropout, **tokens)  # type: ignore[arg-type]
        kind = {"rnn": RNN, "gru": GRU, "lstm": LSTM}[self.features]
        return kind(
            self.hidden,
            self.layers,
            self.bidirectional,
            output="each",
            head_dropout=self.dropout,
            **tokens,
        )
