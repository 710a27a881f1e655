from __future__ import annotations

import pytest

from modelpack.errors import InputError, RemoteError
from modelpack.gate.samples import Series, increase
from modelpack.gate.scraper import Scraper
from modelpack.gate.selectors import Selector
from tests.fakes.rehearsal import Envoy, serve

REQUESTS = Selector("envoy_cluster_upstream_rq_xx", (("envoy_cluster_name", "default_mpg-${role}_8080"),))


@pytest.mark.parametrize(("before", "after", "expected"), [(5, 5, 0), (5, 9, 4), (8, 2, 2), (5, 0, 0)])
def test_a_counter_that_falls_was_reset(before: float, after: float, expected: float) -> None:
    assert increase(before, after) == expected


def values(scraper: Scraper, role: str, end: float) -> dict[str, list[float]]:
    found: list[Series] = scraper.samples(REQUESTS, role, 0, end)
    return {each.labels["envoy_response_code_class"]: [value for _, value in each.points] for each in found}


def test_the_scraper_keeps_what_selectors_name_and_starts_new_series_at_zero() -> None:
    envoy = Envoy()
    envoy.add("canary", good=10)
    envoy.add("other", good=99)
    with serve(envoy.page) as url:
        scraper = Scraper(f"{url}/stats/prometheus", [REQUESTS.fill({"role": "canary"})])
        assert values(scraper, "canary", 1.0) == {"2": [10]}
        envoy.add("canary", good=5, bad=3)
        assert values(scraper, "canary", 2.0) == {"2": [10, 15], "5": [0, 3]}
        envoy.add("canary", good=5)
        assert values(scraper, "canary", 2.0) == {"2": [10, 15], "5": [0, 3]}  # one reading for each end
        assert scraper.samples(REQUESTS, "other", 0, 2.0) == []
        envoy.alive = False
        with pytest.raises(RemoteError, match="answered 503"):
            scraper.samples(REQUESTS, "canary", 0, 3.0)
    with pytest.raises(RemoteError, match="cannot be read"):
        scraper.samples(REQUESTS, "canary", 0, 4.0)


def test_a_counter_that_was_gone_counts_from_zero_again() -> None:
    pages = iter(
        [
            b'envoy_cluster_upstream_rq_xx{role="canary"} %d\n' % 7,
            b"",
            b'envoy_cluster_upstream_rq_xx{role="canary"} 9\n',
        ]
    )
    selector = Selector("envoy_cluster_upstream_rq_xx", (("role", "${role}"),))
    with serve(lambda path, _: (200, next(pages))) as url:
        scraper = Scraper(url, [selector.fill({"role": "canary"})])
        points = [scraper.samples(selector, "canary", 0, end)[0].points for end in (1.0, 2.0, 3.0)]
    assert points[-1] == ((1.0, 7.0), (2.0, 0.0), (3.0, 9.0))


def test_promql_without_a_prometheus_is_an_error_that_fits_checks_and_signals() -> None:
    with pytest.raises(
        InputError, match=r"up: is PromQL, .*a check may have gauge: .*, a signal is watched in a cluster"
    ):
        Scraper("http://127.0.0.1:9", []).query("up", 1.0)


@pytest.mark.parametrize("body", [b'envoy_cluster_upstream_rq_xx{a="b 1\n', b"envoy_cluster_upstream_rq_xx{} x\n"])
def test_nonsense_is_an_error(body: bytes) -> None:
    selector = Selector("envoy_cluster_upstream_rq_xx")
    with serve(lambda path, _: (200, body)) as url, pytest.raises(RemoteError, match="Prometheus"):
        Scraper(url, [selector]).samples(selector, "canary", 0, 1.0)
