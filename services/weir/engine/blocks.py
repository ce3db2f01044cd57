"""Who holds which block of keys and values. Pure bookkeeping: no tensors, no tokens."""

from collections import OrderedDict
from collections.abc import Sequence


class BlockPool:
    """A block is free, held by one or more, or idle: held by nobody, and kept under its key until room is needed.

    What a key stands for is the caller's business (`prefix.py`); the pool keeps one block per key.
    """

    def __init__(self, count: int, *, block_tokens: int) -> None:
        self.count = count
        self.block_tokens = block_tokens
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return len(self._free)

    @property
    def idle(self) -> int:
        """Blocks that nobody holds, kept for whoever asks for their key."""
        return len(self._idle)

    @property
    def available(self) -> int:
        """Blocks that can be taken: free ones and idle ones."""
        return len(self._free) + len(self._idle)

    @property
    def held(self) -> int:
        return self.count - self.available

    def needed(self, tokens: int) -> int:
        """Blocks for so many positions."""
        return -(-tokens // self.block_tokens)

    def take(self) -> int:
        """Give out a block, its content undefined; an idle one is forgotten only when none is free.

        Raises:
            IndexError: none is available; ask `available` first.
        """
        if self._free:
            block = self._free.pop()
        elif self._idle:
            block, _ = self._idle.popitem(last=False)
            del self._block_of[self._key_of.pop(block)]
        else:
            raise IndexError("no block is available")
        self._holders[block] = 1
        return block

    def find(self, key: bytes) -> int | None:
        return self._block_of.get(key)

    def is_idle(self, block: int) -> bool:
        return block in self._idle

    def hold(self, block: int) -> None:
        """Become one more holder of a block that `find` gave."""
        if not self._holders[block]:
            del self._idle[block]
        self._holders[block] += 1

    def publish(self, block: int, key: bytes) -> int:
        """Let others find a held block whose content is final; return the block to hold from now on.

        It is another one when that has been published under the same key: then `block` was released.
        """
        known = self._block_of.get(key)
        if known is None:
            self._block_of[key], self._key_of[block] = block, key
            return block
        if known != block:
            self.hold(known)
            self.release((block,))
        return known

    def release(self, blocks: Sequence[int]) -> None:
        """Give back one hold of each, last first, so that of a chain's idle blocks the first are kept longest."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._key_of:
                self._idle[block] = None
            else:
                self._free.append(block)
