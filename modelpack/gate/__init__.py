"""The metrics checker that Flagger asks: may this canary get traffic, be promoted, or must it go?

In: Flagger's webhooks, the canary's and the primary's state and counters, `gate.yaml` and the golden set of a model.
Out: 200 or 403 with a reason, verdicts with their evidence in SQLite, a JSON API and a page.

    config ──▶ checks/ (one file a check) ──▶ verdict (how verdicts combine, what a hook is answered)
                  ▲                              │
    selectors, samples, meter, probe         rollouts (pure: which rollout a call is about, and its state)
                  │                              │
                  └────────── engine (the rim: clock, locks, threads) ── store ── service (HTTP)
                                  │
                  target: what the gate asks of its surroundings
                  rehearsal (a folder, scraper)   cluster (API server, prometheus)

The gate knows neither Git nor packaging; others speak to it over HTTP.
"""
