"""The pictures of docs/checks.md: rehearses the example's faults, and takes the card of the check that caught each.

`python -m benchmarks.pictures [VERSION ...]`, in about two minutes. Needs Chromium and pngquant. It prints what the
cards say: the text's figures are to be those of the pictures. Faults and checks are tests/integration/test_faults.py's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from modelpack.rehearse.outcome import Result
from modelpack.rehearse.processes import Processes
from tests.integration.conftest import FLAGS
from tests.integration.servers.process import program
from tests.integration.test_faults import DRIFT, LABELS, MPG, SHADOW, Place

TO = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 700  # CSS pixels
RATE, SPEED = 60, 5  # slow enough for more than one look before a verdict
CARDS = {  # version -> checks beyond the example's, the check that has its picture taken, the picture
    "v4": ("", "errors", "errors"),
    "v5": ("", "golden", "golden"),
    "v6": (DRIFT, "predictions", "drift"),
    "v7": (LABELS, "quality", "labels"),
    "v8": ("", "latency", "latency"),
    "v9": (SHADOW, "shadow", "shadow"),
}


def take(page: Path, check: str, picture: Path) -> str:
    """The card of a check on a rollout's page, without what can be unfolded; gives what it says."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        view = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme="light")
        view.goto(page.as_uri())
        view.evaluate("document.querySelectorAll('.check details').forEach((each) => each.remove())")
        card = view.locator(f"#check-{check}")
        card.screenshot(path=picture)
        said = card.locator(".reason").inner_text()
        browser.close()
    quantize = program("pngquant", "apt-get install pngquant")
    subprocess.run([quantize, "--strip", "--force", "--output", picture, picture], check=True)
    return said


def main(versions: list[str]) -> None:
    TO.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder, Processes() as processes:
        artifacts = Path(folder) / "artifacts"
        train = [sys.executable, MPG / "train.py", "--out", artifacts]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        place = Place(Path(folder) / "state", artifacts, processes, RATE, SPEED)
        place.rehearse("v2")
        for version in versions or CARDS:
            more, check, name = CARDS[version]
            outcome, _ = place.rehearse(version, more)
            if outcome.result is not Result.ROLLED_BACK or outcome.rollout is None:
                sys.exit(f"{version} was not caught: {outcome.result.value}")
            page = Path(folder) / "page.html"
            page.write_bytes(place.gate.page(outcome.rollout["id"]))
            print(f"{version}: {take(page, check, TO / f'{name}.png')}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
