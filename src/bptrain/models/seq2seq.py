"""Sequence to sequence: an encoder, a decoder, and attention between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Seq2Seq(Model, name="seq2seq"):
    """Reads tokens and writes others: a recurrent encoder and decoder (Sutskever, Vinyals and Le 2014).

    The decoder learns by teacher forcing: at each step it is given the target's token before (Williams and Zipser
    1989). Left to itself it is given its own, by beam search. Attention is `additive` (Bahdanau, Cho and Bengio
    2015) or `dot`, scaled (Vaswani et al. 2017), and stands after the decoder's recurrent layers, so that these see a
    whole target in one call (Luong, Pham and Manning 2015). A bidirectional encoder has half of `hidden` in each
    direction, and so a state as wide as the decoder's.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("transduction",)
    reads = ("tokens",)

    cell: Literal["rnn", "gru", "lstm"] = setting("lstm", "recurrent layers of encoder and decoder")
    hidden: int = setting(128, "units of each layer, both directions together", minimum=1, maximum=WIDEST)
    layers: int = setting(1, "recurrent layers of the encoder, and of the decoder", minimum=1, maximum=1024)
    bidirectional: bool = setting(True, "whether the encoder reads from the end, too")
    embedding: int = setting(64, "numbers that stand for a token", minimum=1, maximum=WIDEST)
    tied: bool = setting(False, "whether the head has the weights of the target's embedding (Press and Wolf 2017)")
    attention: Literal["none", "additive", "dot"] = setting("additive", "how the decoder sees the encoder's states")
    dropout: float = setting(
        0.0, "share set to 0 of embeddings, between layers and before the head", minimum=0, below=1
    )
    beam: int = setting(1, "beginnings that decoding goes on with; 1 is greedy", minimum=1, maximum=100)
    length_penalty: float = setting(
        1.0, "power of the length by which a log probability is divided", minimum=0, maximum=10
    )

    def __post_init__(self) -> None:
        problems = []
        if self.bidirectional and self.hidden % 2:
            what = f"is {self.hidden}, of which two directions can't have half each."
            problems.append(Problem("model.hidden", what, "Write an even number, or model.bidirectional=false."))
        if self.tied and self.embedding != self.hidden:
            what = f"shares the weights of an embedding of {self.embedding} with a head that sees {self.hidden} units."
            problems.append(Problem("model.tied", what, f"Write model.embedding={self.hidden}, or model.tied=false."))
        if problems:
            raise RequestError(problems)

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        return self.build(dataset.shape, outputs, len(dataset.vocabulary), dataset.parts["train"].targets.shape[1])

    def build(self, shape: tuple[int, ...], outputs: int, vocabulary: int = 0, steps: int = 0) -> nn.Module:
        """(B, T + steps) of `vocabulary` tokens, and of `outputs` -> (B, steps, outputs)."""
        from torch import nn

        from bptrain.modules import attention, seq2seq
        from bptrain.modules.sequence import embedding

        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[self.cell]
        between = self.dropout if self.layers > 1 else 0.0
        options = {"num_layers": self.layers, "dropout": between, "batch_first": True}
        each = self.hidden // 2 if self.bidirectional else self.hidden
        head = nn.Linear(self.hidden, outputs)
        target = nn.Embedding(outputs, self.embedding)
        if self.tied:
            target.weight = head.weight
        attentions = {"none": None, "additive": attention.Additive, "dot": attention.ScaledDotProduct}
        chosen = attentions[self.attention]
        return seq2seq.Seq2Seq(
            embedding(vocabulary, self.embedding, self.dropout),
            nn.Sequential(target, nn.Dropout(self.dropout)) if self.dropout else target,
            kind(self.embedding, each, bidirectional=self.bidirectional, **options),
            kind(self.embedding, self.hidden, **options),
            chosen(self.hidden) if chosen is not None else None,
            self.dropout,
            head,
            steps,
            self.beam,
            self.length_penalty,
        )
