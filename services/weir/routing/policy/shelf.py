"""Many nodes in the order of what they have to do."""

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Shelved(Protocol):
    """What can stand in a shelf; `stamp` is the shelf's own."""

    number: int
    stamp: int
    turn: int
    is_open: bool
    in_flight: int
    most: int


Item = TypeVar("Item", bound=Shelved)


class Shelf(Generic[Item]):
    """The ones with the lowest scores, at the cost of a heap. What became stale is dropped when it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, int, Item]] = []
        self.size = 0  # how many items there are; whoever adds them says so

    def put(self, score: float, item: Item) -> None:
        """Set an item's score. It has to be put again once it may be taken again: whoever may not is dropped."""
        item.stamp += 1
        heap = self._heap
        heappush(heap, (score, item.turn, item.number, item.stamp, item))
        if len(heap) > 4 * self.size + 64:
            self._heap = [entry for entry in heap if entry[3] == entry[4].stamp]
            heapify(self._heap)

    def clear(self) -> None:
        self._heap.clear()

    def top(self) -> list[Item]:
        """Return the one with the lowest score, and up to two of those that come near."""
        heap = self._heap
        while heap:
            entry = heap[0]
            item = entry[4]
            if entry[3] == item.stamp and item.is_open and item.in_flight < item.most:
                break
            heappop(heap)
        found = []
        for _, _, _, stamp, item in heap[:3]:
            if stamp == item.stamp and item.is_open and item.in_flight < item.most:
                found.append(item)
        return found
