"""The same limits, counted in a Redis (or Valkey) that several gateways share.

One script does what `MemoryLimits` does, in one round trip and on Redis's own clock; the `limits` library would need a
trip per limit, could take one and be refused the other, and cannot give tokens back.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from weir.contracts.caller import Caller
from weir.store.database import StoreError
from weir.store.limits import WINDOW_S, Level, LimitName, Refusal, Taken, limits_of

_TIMEOUT_S: Final = 0.25
_PAUSE_S: Final = 1.0  # after a failure nobody waits for Redis this long
_MAX_UNSETTLED: Final = 100_000

# KEYS: one hash per limit. ARGV: the window; then limit and amount per hash.
# Returns {1, second, remaining, reset_ms, ...}, or {0, number of the hash that refused, wait_ms or -1}.
_TAKE: Final = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local second, window = tonumber(time[1]), tonumber(ARGV[1])
local reply = {1, second}
for i = 1, #KEYS do
  local limit, amount = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local fields, total, newest, held = redis.call('HGETALL', KEYS[i]), 0, nil, {}
  for j = 1, #fields, 2 do
    local at, taken = tonumber(fields[j]), tonumber(fields[j + 1])
    if at < second - window then
      redis.call('HDEL', KEYS[i], fields[j])
    else
      total = total + taken
      held[#held + 1] = {at, taken}
      if taken > 0 and (newest == nil or at > newest) then newest = at end
    end
  end
  if total + amount > limit then
    local wait, excess = -1, total + amount - limit
    table.sort(held, function(a, b) return a[1] < b[1] end)
    if amount <= limit then
      for _, pair in ipairs(held) do
        excess = excess - pair[2]
        if excess <= 0 then wait = (pair[1] + window + 1) * 1000 - now_ms break end
      end
    end
    return {0, i, wait}
  end
  if amount > 0 then newest = second end
  reply[#reply + 1] = limit - total - amount
  reply[#reply + 1] = newest and (newest + window + 1) * 1000 - now_ms or 0
end
for i = 1, #KEYS do
  local amount = tonumber(ARGV[2 * i + 1])
  if amount > 0 then
    redis.call('HINCRBY', KEYS[i], second, amount)
    redis.call('EXPIRE', KEYS[i], 2 * window)
  end
end
return reply
"""

# KEYS: the hash of tokens. ARGV: second, change. A second that is over takes nothing back, but more use counts now.
_SETTLE: Final = """
local second, change = ARGV[1], tonumber(ARGV[2])
if redis.call('HEXISTS', KEYS[1], second) == 0 then
  if change <= 0 then return 0 end
  second = redis.call('TIME')[1]
end
if redis.call('HINCRBY', KEYS[1], second, change) < 0 then redis.call('HSET', KEYS[1], second, 0) end
redis.call('EXPIRE', KEYS[1], 2 * tonumber(ARGV[3]))
return 1
"""


class RedisLimits:
    """The limits of all gateways that share one Redis."""

    def __init__(
        self, url: str, *, prefix: str = "weir", window_s: int = WINDOW_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._window_s = window_s
        self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        self._take = self._redis.register_script(_TAKE)
        self._settle = self._redis.register_script(_SETTLE)
        self._prefix = prefix
        self._clock = clock
        self._away_until = float("-inf")
        self._levels: dict[tuple[str, LimitName], Level] = {}
        self._unsettled: deque[tuple[str, int, int]] = deque(maxlen=_MAX_UNSETTLED)
        self._settling: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        return self._clock() < self._away_until

    async def take(self, caller: Caller, *, requests: int, tokens: int) -> Taken | Refusal:
        limits = limits_of(caller)
        if not limits:
            return Taken(caller.key_id, 0, tokens)
        names = list(limits)
        amounts = {"requests": requests, "tokens": tokens}
        given = [number for name in names for number in (limits[name], amounts[name])]
        keys = [self._key(caller.key_id, name) for name in names]
        reply = await self._asked(self._take, keys, [self._window_s, *given])
        if not reply[0]:
            return Refusal(names[reply[1] - 1], None if reply[2] < 0 else reply[2] / 1000)
        for number, name in enumerate(names):
            remaining, reset_ms = reply[2 + 2 * number : 4 + 2 * number]
            self._levels[caller.key_id, name] = Level(limits[name], remaining, reset_ms / 1000)
        return Taken(caller.key_id, reply[1], tokens)

    def settle(self, caller: Caller, taken: Taken, tokens: int) -> None:
        if caller.tokens_per_min is None or tokens == taken.tokens:
            return
        self._unsettled.append((caller.key_id, taken.second, tokens - taken.tokens))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.get_running_loop().create_task(self._settle_all())

    def levels(self, caller: Caller) -> dict[LimitName, Level]:
        """Return what the last answer said of this key."""
        return {name: self._levels[at] for name in limits_of(caller) if (at := (caller.key_id, name)) in self._levels}

    async def aclose(self) -> None:
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)
        await self._redis.aclose()

    async def _settle_all(self) -> None:
        while self._unsettled:
            key_id, second, change = self._unsettled.popleft()
            try:
                await self._asked(self._settle, [self._key(key_id, "tokens")], [second, change, self._window_s])
            except StoreError:
                self._unsettled.clear()  # a minute from now they would not count any more

    async def _asked(self, script: Any, keys: list[str], arguments: list[int]) -> list[int]:
        if self.is_away:
            raise StoreError("the store of shared limits is away")
        try:
            return cast("list[int]", await script(keys=keys, args=arguments))
        except (RedisError, OSError, TimeoutError):
            self._away_until = self._clock() + _PAUSE_S
            raise StoreError("the store of shared limits is away") from None

    def _key(self, key_id: str, name: LimitName) -> str:
        return f"{self._prefix}:{{{key_id}}}:{name}"
