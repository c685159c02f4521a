"""The text that Prometheus reads, judged by the parser of its client library."""

from prometheus_client.parser import text_string_to_metric_families

from vtpmd.telemetry.metrics import Gauge, Histogram, Metrics


def test_a_histogram_is_cumulative() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 2.0):
        histogram.observe(seconds)
    histogram.add((1, 0, 0), 0.01)
    assert histogram.buckets == [("0.1", 3), ("1.0", 4), ("+Inf", 5)]
    assert round(histogram.sum, 3) == 2.66


def test_what_was_counted_is_read_back() -> None:
    metrics = Metrics()
    metrics.count("key_uses", 'a"\\\n', "wrap", "done", by=3)
    metrics.histogram("key_use_seconds", "p", (1.0,)).observe(0.5)
    gauge = Gauge("instances", "By state.", ("state",), {("running",): 2})
    families = text_string_to_metric_families(metrics.exposition([gauge]).decode())
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    uses = {"provider": 'a"\\\n', "operation": "wrap", "outcome": "done"}
    assert samples["vtpmd_key_uses_total", frozenset(uses.items())] == 3
    bucket = {"provider": "p", "le": "1.0"}
    assert samples["vtpmd_key_use_seconds_bucket", frozenset(bucket.items())] == 1
    assert samples["vtpmd_instances", frozenset({("state", "running")})] == 2
