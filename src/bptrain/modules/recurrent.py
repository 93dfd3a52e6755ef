"""A recurrent network with a linear head, over signals, images or tokens."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptrain.modules.sequence import lengths_of, pooled
from bptrain.modules.truncation import Hidden, truncated

Output = Literal["last", "mean", "every", "each"]


class SequenceNetwork(nn.Module):
    """(B, C, L) read as L steps of C features, or (B, C, H, W) as H steps of C * W features -> (B, O).

    With an embedding it reads tokens (B, T) up to the first PAD. With the output "each" the head answers at each
    step, (B, T, O), with zeros after the end. While training, the gradient goes back `tbptt` steps at the most.
    """

    tbptt: int | None = None

    def __init__(
        self,
        layers: nn.RNNBase,
        head: nn.Linear,
        output: Output,
        embedding: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.layers = layers
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = head
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            return self._read(x, self.embedding)
        states, final = self._states(x.transpose(1, 2).flatten(2))  # (B, T, F) -> (B, T, D * H), (layers * D, B, H)
        match self.output:
            case "each":
                return self._answer(states)  # (B, T, O)
            case "every":
                return self._answer(states.flatten(1))  # (B, T * D * H) -> (B, O)
            case "mean":
                return self._answer(states.mean(1))
        return self._answer(last_state(self.layers, final))

    def _read(self, tokens: Tensor, embedding: nn.Module) -> Tensor:
        """Tokens are packed before they are embedded, so that no padding is read in either direction."""
        lengths = lengths_of(tokens)
        packed = pack_padded_sequence(tokens, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, final = self._states(_with(packed, embedding(packed.data)))  # (N, D * H)
        if self.output == "last":
            return self._answer(last_state(self.layers, final))
        if self.output == "each":
            states = _with(states, self._answer(states.data))  # (N, O)
        padded, _ = pad_packed_sequence(states, batch_first=True, total_length=tokens.shape[1])  # (B, T, *)
        return padded if self.output == "each" else self._answer(pooled(padded, self.output, lengths, padded.shape[1]))

    def _states(self, x: Any) -> Any:
        """The states at all steps, and the final one of each layer and direction."""
        return truncated(self.layers, x, self.tbptt) if self.training and self.tbptt else self.layers(x)

    def _answer(self, states: Tensor) -> Tensor:
        return self.head(self.dropout(states))


def last_state(layers: nn.RNNBase, final: Hidden) -> Tensor:
    """The final state of each direction of the last layer, (B, D * H)."""
    if isinstance(final, tuple):
        final = final[0]  # the cell's own state stays inside
    directions = 2 if layers.bidirectional else 1
    return final[-directions:].transpose(0, 1).flatten(1)  # (D, B, H) -> (B, D * H)


def _with(packed: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
