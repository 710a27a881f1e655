"""Send the example's traffic, and count what comes back: `python3 load.py traffic.jsonl RATE`, RATE requests a second.

$INGRESS is where to (`http://host:port`), $HOST the Host header. Goes on until SIGTERM; prints a line of counts by
status every ten seconds and at the end, where `lost` are the requests without an answer. Needs the standard library.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8
TIMEOUT = 10  # seconds for a request
REPORT = 10  # seconds


def send(number: int, lines: list[dict[str, object]], rate: float, counts: Counter[str], stop: threading.Event) -> None:
    """One connection's share of the traffic. Late requests are made up for, up to a second's."""
    place = urlsplit(os.environ["INGRESS"])
    headers = {"Host": os.environ.get("HOST") or place.netloc, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=TIMEOUT)
    due, step = time.monotonic() + number / rate, number
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + CONNECTIONS / rate, time.monotonic() - 1)
        line = lines[step % len(lines)]
        step += CONNECTIONS
        try:
            connection.request(str(line["method"]), str(line["path"]), json.dumps(line["body"]), headers)
            answer = connection.getresponse()
            answer.read()
            counts[str(answer.status)] += 1
        except (OSError, http.client.HTTPException):
            connection.close()
            counts["lost"] += 1


def main(file: str, rate: str) -> None:
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    counts: Counter[str] = Counter()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    for number in range(CONNECTIONS):
        threading.Thread(target=send, args=(number, lines, float(rate), counts, stop), daemon=True).start()
    while True:
        ended = stop.wait(REPORT)
        print(", ".join(f"{status}: {counts[status]}" for status in sorted(counts)) or "nothing yet", flush=True)
        if ended:
            return


if __name__ == "__main__":
    if len(sys.argv) != 3 or "INGRESS" not in os.environ:
        sys.exit("usage: INGRESS=http://HOST:PORT HOST=NAME python3 load.py traffic.jsonl RATE")
    main(*sys.argv[1:])
