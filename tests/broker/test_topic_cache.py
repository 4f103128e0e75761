"""Results of a function of a topic are kept, unless the topic is long."""

from broker.topic_cache import LONGEST_CACHED, TopicCache


def test_a_result_is_computed_once_until_the_cache_is_cleared() -> None:
    asked: list[str] = []
    cache = TopicCache(lambda topic: asked.append(topic) or len(topic))  # type: ignore[func-returns-value]

    assert [cache("t"), cache("t"), cache("long")] == [1, 1, 4]
    assert asked == ["t", "long"]

    cache.clear()
    assert cache("t") == 1
    assert asked == ["t", "long", "t"]


def test_a_long_topic_is_not_kept() -> None:
    asked: list[str] = []
    cache: TopicCache[str, None] = TopicCache(asked.append)
    topic = "t" * (LONGEST_CACHED + 1)

    cache(topic)
    cache(topic)

    assert asked == [topic, topic]
