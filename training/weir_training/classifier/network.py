"""The network: hashed ids in, one number per text out. Larger is more of what is looked for."""

from typing import Final

import torch
from torch import Tensor, nn

FAR: Final = -1.0e4  # in place of minus infinity: a softmax over nothing but padding stays a number
DILATIONS: Final = (1, 3, 9)


class Network(nn.Module):
    """Reads about 90 characters around each place. What pads a batch changes no score but for rounding."""

    def __init__(self, *, buckets: int, width: int, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets + 1, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.3)
        nn.init.zeros_(self.embedding.weight[0])  # padding weighs as nothing does: as the edge of a convolution
        self.first = nn.Conv1d(width, channels, 5, stride=2, padding=2)
        self.more = nn.ModuleList(
            nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.attention = nn.Conv1d(channels, 1, 1)
        self.head = nn.Linear(2 * channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits, shape (rows,).

        Args:
            ids: shape (rows, places, columns), int64, 0 where there is nothing; an even number of places. A row is
                padded at its end.
        """
        mask = (ids[:, ::2, 0] > 0).float().unsqueeze(1)
        hidden = self.embedding(ids).sum(2).transpose(1, 2)
        hidden = torch.relu(self.first(self.dropout(hidden))) * mask
        for convolution in self.more:
            hidden = hidden + torch.relu(convolution(hidden)) * mask
        weights = torch.softmax(self.attention(hidden) + (1.0 - mask) * FAR, dim=2)
        pooled = torch.cat(((hidden * weights).sum(2), (hidden + (1.0 - mask) * FAR).amax(2)), dim=1)
        logits: Tensor = self.head(self.dropout(pooled))[:, 0]
        return logits
