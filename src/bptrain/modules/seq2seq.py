"""A recurrent encoder that reads a sequence, and a recurrent decoder that writes another one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptrain.modules.attention import Attention
from bptrain.modules.beam_search import State, beam_search
from bptrain.modules.sequence import before_end, lengths_of

Memory = tuple[Tensor, Tensor, Tensor]  # keys (B, T, H), states (B, T, H), and True (B, T) up to the end


class Seq2Seq(nn.Module):
    """Source tokens and, beside them, the target's shifted by one (B, T + U) -> the scores of each next (B, U, O).

    The decoder starts from the encoder's final state, the two directions side by side. With attention, whose query is
    the decoder's state, y = head(tanh(W [context, state])) (Luong, Pham and Manning 2015); without, y = head(state).
    """

    def __init__(
        self,
        source: nn.Module,
        target: nn.Module,
        encoder: nn.RNNBase,
        decoder: nn.RNNBase,
        attention: Attention | None,
        dropout: float,
        head: nn.Linear,
        steps: int,
        beam: int,
        length_penalty: float,
    ) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.encoder = encoder
        self.decoder = decoder
        self.attention = attention
        self.join = nn.Linear(2 * decoder.hidden_size, decoder.hidden_size) if attention is not None else None
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = head
        self.steps = steps  # U
        self.beam = beam
        self.length_penalty = length_penalty

    def forward(self, x: Tensor) -> Tensor:
        source, shifted = x.split([x.shape[1] - self.steps, self.steps], 1)  # (B, T), (B, U)
        memory, state = self._encode(source)
        longest = int(lengths_of(shifted).max())
        states, _ = self.decoder(self.target(shifted[:, :longest]), _for(self.decoder, state))
        return F.pad(self._score(states, memory), (0, 0, 0, self.steps - longest))  # zeros where each target is PAD

    def predict(self, x: Tensor) -> Tensor:
        """The tokens that are written (B, U), PAD after their end; only the source (B, T) in x is looked at."""
        memory, state = self._encode(x[:, : -self.steps])

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            states, final = self.decoder(self.target(tokens.reshape(-1, 1)), _for(self.decoder, state))
            scores = self._score(states.view(*tokens.shape, -1), memory)  # (B, beam, O)
            return scores.log_softmax(-1), final if isinstance(final, tuple) else (final,)

        return beam_search(step, state, self.beam, self.steps, self.length_penalty)

    def _encode(self, source: Tensor) -> tuple[Memory, State]:
        """What attention sees, and the decoder's first state."""
        lengths = lengths_of(source)
        packed = pack_padded_sequence(source, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, final = self.encoder(packed._replace(data=self.source(packed.data)))
        states, _ = pad_packed_sequence(states, batch_first=True)  # (B, T, H)
        keys = states if self.attention is None else self.attention.keys(states)
        finals = final if isinstance(final, tuple) else (final,)
        directions = 2 if self.encoder.bidirectional else 1
        joined = (f.unflatten(0, (-1, directions)).transpose(1, 2).flatten(2) for f in finals)  # (L, B, H)
        return (keys, states, before_end(lengths, states.shape[1])), tuple(joined)

    def _score(self, states: Tensor, memory: Memory) -> Tensor:
        """The scores (B, U, O) of the next tokens, for states of the decoder (B, U, H)."""
        if self.attention is not None and self.join is not None:
            context = self.attention(states, *memory)  # (B, U, H)
            states = self.join(torch.cat([context, states], -1)).tanh()
        return self.head(self.dropout(states))


def _for(layers: nn.RNNBase, state: State) -> State | Tensor:
    """The state as torch's layers take it."""
    return state if isinstance(layers, nn.LSTM) else state[0]
