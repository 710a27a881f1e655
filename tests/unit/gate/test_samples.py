from __future__ import annotations

import math

import pytest

from modelpack.errors import RemoteError
from modelpack.gate.samples import Series, bucket_increases, increase, slower, total_increase
from modelpack.gate.scraper import Scraper
from modelpack.gate.selectors import Selector
from tests.fakes.rehearsal import Envoy, serve

REQUESTS = Selector("envoy_cluster_upstream_rq_xx", (("envoy_cluster_name", "default_mpg-${role}_8080"),))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], 0), ([5], 0), ([5, 5], 0), ([5, 8, 9], 4), ([5, 8, 2, 3], 3 + 2 + 1), ([5, 0, 0], 0)],
)
def test_a_counter_that_falls_was_reset(values: list[float], expected: float) -> None:
    assert increase(list(enumerate(values))) == expected


def test_histograms_of_several_replicas_are_summed_by_bound() -> None:
    def bucket(bound: str, value: float) -> Series:
        return Series({"le": bound}, ((0, 0), (1, value)))

    buckets = bucket_increases([bucket("100", 7), bucket("100.0", 1), bucket("+Inf", 10), bucket("odd", 5)])
    assert buckets == {100.0: 8, math.inf: 10}
    assert slower(buckets, 100) == (10, 2)
    assert slower(buckets, 99) is None


def test_the_scraper_keeps_what_selectors_name_and_starts_new_series_at_zero() -> None:
    envoy = Envoy()
    envoy.add("canary", good=10)
    envoy.add("other", good=99)
    with serve(envoy.page) as url:
        scraper = Scraper(f"{url}/stats/prometheus", [REQUESTS.fill({"role": "canary"})])
        scraper.scrape(1.0)
        assert total_increase(scraper.samples(REQUESTS, "canary", 0, 1)) == 0  # no look before: a counter says nothing
        envoy.add("canary", good=5, bad=3)
        scraper.scrape(2.0)
        found = scraper.samples(REQUESTS, "canary", 1, 2)
        assert {each.labels["envoy_response_code_class"]: increase(each.points) for each in found} == {"2": 5, "5": 3}
        assert scraper.samples(REQUESTS, "other", 0, 9) == []
        envoy.alive = False
        with pytest.raises(RemoteError, match="answered 503"):
            scraper.scrape(3.0)
    with pytest.raises(RemoteError, match="cannot be read"):
        scraper.scrape(4.0)


@pytest.mark.parametrize("body", [b'envoy_cluster_upstream_rq_xx{a="b 1\n', b"envoy_cluster_upstream_rq_xx{} x\n"])
def test_nonsense_is_an_error(body: bytes) -> None:
    with serve(lambda path, _: (200, body)) as url, pytest.raises(RemoteError, match="Prometheus"):
        Scraper(url, [Selector("envoy_cluster_upstream_rq_xx")]).scrape(1.0)
