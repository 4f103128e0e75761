"""Results of a function of a topic, kept: a meter publishes to the same topics every second."""

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

MOST_CACHED = 40_000
"""Topics with a kept result: 1000 meters with all their quantities."""
LONGEST_CACHED = 256
"""Longest topic whose result is kept, so that a client cannot fill the memory with topics."""
Topic = TypeVar("Topic", str, bytes)
Result = TypeVar("Result")


class TopicCache(Generic[Topic, Result]):
    """A function of a topic that computes each result once."""

    def __init__(self, function: Callable[[Topic], Result]) -> None:
        self._function: Callable[[Topic], Result] = function
        self._cached = lru_cache(MOST_CACHED)(function)

    def __call__(self, topic: Topic) -> Result:
        """Return the result for a topic."""
        return self._cached(topic) if len(topic) <= LONGEST_CACHED else self._function(topic)

    def clear(self) -> None:
        """Forget all results, because what the function reads has changed."""
        self._cached.cache_clear()
