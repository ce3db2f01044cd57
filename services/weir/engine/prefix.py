"""Prompts that begin alike are read once: full blocks are found again by what they hold.

A block's key is a blake2b digest over salt, adapter and every token up to its end, so equal keys mean equal content
(a collision of 256 bits is not to be had); a different salt never finds it.
"""

from array import array
from hashlib import blake2b

from weir.engine.blocks import BlockPool
from weir.engine.sequence import Sequence

_DIGEST_BYTES = 32


class PrefixCache:
    """Finds and publishes the blocks of sequences in a pool; with `enabled` false it finds and keeps nothing.

    Sharing is sound only where a position's keys and values do not depend on how the prompt was cut or on who else
    was in the batch (`Model.is_exact`).
    """

    def __init__(self, pool: BlockPool, *, enabled: bool) -> None:
        self._pool = pool
        self._enabled = enabled

    def match(self, sequence: Sequence) -> list[int]:
        """Return the blocks that already hold the sequence's beginning, without taking hold of them.

        The last token is never among them: it must be read for its logits.
        """
        found: list[int] = []
        if self._enabled:
            for index in range((len(sequence.tokens) - 1) // self._pool.block_tokens):
                block = self._pool.find(self._key(sequence, index))
                if block is None:
                    break
                found.append(block)
        return found

    def skip(self, sequence: Sequence) -> int:
        """Jump over blocks that others have published since the sequence started; return how many tokens that saves."""
        if not self._enabled or sequence.cached % self._pool.block_tokens:
            return 0
        before = sequence.cached
        last = (len(sequence.tokens) - 1) // self._pool.block_tokens
        while sequence.published < last:
            block = self._pool.find(self._key(sequence, sequence.published))
            if block is None:
                break
            self._pool.hold(block)
            self._pool.release(sequence.blocks[sequence.published : sequence.published + 1])
            sequence.blocks[sequence.published] = block
            sequence.published += 1
            sequence.cached += self._pool.block_tokens
        return sequence.cached - before

    def publish(self, sequence: Sequence) -> None:
        """Let others share the blocks that have become full."""
        if not self._enabled:
            return
        for index in range(sequence.published, sequence.cached // self._pool.block_tokens):
            sequence.blocks[index] = self._pool.publish(sequence.blocks[index], self._key(sequence, index))
            sequence.published = index + 1

    def _key(self, sequence: Sequence, index: int) -> bytes:
        keys, size = sequence.keys, self._pool.block_tokens
        while len(keys) <= index:
            parent = keys[-1] if keys else _root(sequence.salt, sequence.adapter)
            tokens = array("q", sequence.tokens[len(keys) * size : (len(keys) + 1) * size])
            keys.append(blake2b(parent + tokens.tobytes(), digest_size=_DIGEST_BYTES).digest())
        return keys[index]


def _root(salt: str | None, adapter: int) -> bytes:
    """The digest that a chain starts from; no salt differs from every salt."""
    named = b"" if salt is None else b"salt:" + salt.encode()
    return blake2b(b"%d:" % adapter + named, digest_size=_DIGEST_BYTES).digest()
