"""Real kernels: what a notebook says is kept, whatever becomes of it, and nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelpack import notebook as room
from modelpack.errors import InputError, RemoteError
from tests.fakes.blocks import run_blocks
from tests.fakes.notebooks import WHOLE, notebook

ENV = {"PATH": os.environ["PATH"]}
MARK = f"sleep 98765.{os.getpid()}"  # no other run's


def execute(folder: Path, data: bytes, parameters: Mapping[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """The executed notebook."""
    path = folder / "train.ipynb"
    path.write_bytes(data)
    settings: dict[str, Any] = {"cwd": folder, "timeout": 60, "env": ENV, **rest}
    room.execute(path, parameters or {}, out=folder / "out" / "o.ipynb", html=folder / "out" / "o.html", **settings)
    return dict(json.loads((folder / "out" / "o.ipynb").read_text()))


def texts(document: Mapping[str, Any]) -> str:
    return "".join("".join(output.get("text", [])) for cell in document["cells"] for output in cell.get("outputs", []))


def left() -> list[str]:
    """The processes of this machine that a test's notebook started, or its kernels."""
    found = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True).stdout.splitlines()
    return [each for each in found if MARK in each and "Z" not in each.split()[1] and "ps -eo" not in each]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left()


def test_parameters_reach_the_notebook_in_a_clean_environment(tmp_path: Path) -> None:
    data = notebook(
        "md:# Training",
        ("epochs = 1\nname = ''\ndata = 'none'", ["pipeline-parameters"]),
        "import os\nprint(epochs, repr(name), data, os.getcwd(), 'HOME' in os.environ)",
    )
    hostile = 'a"\\\n\u2028{x}'
    found = execute(
        tmp_path, data, {"epochs": 7, "name": hostile}, offered={"data": "/d.csv", "metrics": "m"}, cwd=tmp_path
    )
    assert texts(found).strip() == f"7 {hostile!r} /d.csv {tmp_path} False"
    assert found["metadata"]["kernelspec"]["name"] == "python3"  # not the one that it names
    html = (tmp_path / "out" / "o.html").read_text()
    assert "<script" not in html and "Content-Security-Policy" in html
    with pytest.raises(InputError, match=r"takes no parameter 'epoch'; did you mean 'epochs'\?"):
        execute(tmp_path, data, {"epoch": 1})


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["md:x", "a = 1", "def f():\n  1 / 0\n\nf()"], "train.ipynb: cell 3, line 4: ZeroDivisionError: division by"),
        ([("p = 1", ["parameters"]), "\nraise ValueError('<b>' + 'y' * 999)"], "cell 2, line 2: ValueError: <b>yyy"),
        (["a = 1\nb = = 2"], "cell 1, line 2: SyntaxError"),
        (["import sys\nsys.exit(3)"], "cell 1: SystemExit: 3"),
    ],
)  # fmt: skip
def test_a_failing_cell_is_named_and_both_files_are_kept(cells: list[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        execute(tmp_path, notebook(*cells, "print('never')"), {"p": 5} if isinstance(cells[0], tuple) else {})
    assert says in str(caught.value) and len(str(caught.value)) < 500
    html = (tmp_path / "out" / "o.html").read_text()
    assert caught.value.problem.split(": ")[0] in html and "<b>yyy" not in html
    assert "never\n" not in texts(json.loads((tmp_path / "out" / "o.ipynb").read_text()))


def test_a_notebook_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    cells = ["print('first')", f"import subprocess, time\nsubprocess.Popen('{MARK}'.split())\ntime.sleep(600)"]
    started = time.monotonic()
    with pytest.raises(InputError, match="cell 2: not done after 5 s"):
        execute(tmp_path, notebook(*cells), timeout=5)
    assert time.monotonic() - started < 30
    assert texts(json.loads((tmp_path / "out" / "o.ipynb").read_text())) == "first\n"
    assert "cell 2: not done" in (tmp_path / "out" / "o.html").read_text()


def test_a_kernel_that_dies(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="cell 2: the kernel died"):
        execute(tmp_path, notebook("md:x", "import os\nos._exit(9)"))
    assert (tmp_path / "out" / "o.html").is_file()


def test_what_it_says_is_kept_to_a_limit(tmp_path: Path) -> None:
    loud = "for i in range(100_000):\n    print('x' * 50)"
    rich = "from IPython.display import display, HTML\nfor i in range(5):\n    display(HTML('<p>' + 'y' * 5_000_000))"
    found = execute(tmp_path, notebook(loud, rich, "print('after')"))
    said = texts(found)
    assert len(said) < 1_100_000 and "further text of this cell is left out" in said
    assert "further pictures and tables" in said and said.endswith("after\n")
    assert (tmp_path / "out" / "o.ipynb").stat().st_size < 20_000_000
    assert (tmp_path / "out" / "o.html").stat().st_size < 3_000_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_its_files_and_no_process(number: signal.Signals, tmp_path: Path) -> None:
    cells = f"import subprocess, time\nsubprocess.Popen('{MARK}'.split())\nopen('begun', 'w')\ntime.sleep(600)"
    (tmp_path / "t.ipynb").write_bytes(notebook("print('first')", cells))
    command = [sys.executable, "-m", "modelpack", "notebook", "run", "t.ipynb"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
    assert child.returncode == (130 if number is signal.SIGINT else 143)
    assert said.strip() == ("interrupted" if number is signal.SIGINT else "")
    assert "first" in (tmp_path / "t.out.ipynb").read_text() and "interrupted" in (tmp_path / "t.out.html").read_text()


def test_the_command_puts_both_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.ipynb").write_bytes(notebook(("n = 1\nt = ''", ["parameters"]), "assert n < 2, t"))
    good = command(tmp_path, "t.ipynb", "-p", "t=1", "--to", "kept", "--json")
    said = json.loads(good.stdout)
    assert good.returncode == 0 and said["parameters"] == {"t": "1"}
    assert sorted(each.name for each in (tmp_path / "kept").iterdir()) == ["t.out.html", "t.out.ipynb"]
    bad = command(tmp_path, "t.ipynb", "-p", "n=2", "-p", "t=too many", "--to", "failed")
    assert bad.returncode == 2
    assert bad.stderr.strip() == "error: t.ipynb: cell 2, line 1: AssertionError: too many"
    assert sorted(each.name for each in (tmp_path / "failed").iterdir()) == ["t.out.html", "t.out.ipynb"]
    wrong = ((("-p", "n=x"), "x: is no number"), (("-p", "n"), "'n' is not NAME=VALUE"))
    for words, says in (*wrong, (("--out", "t.ipynb"), "is the notebook itself")):
        assert says in command(tmp_path, "t.ipynb", *words).stderr


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = (sys.executable, "-m", "modelpack", "notebook", "run", *words)
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=120)


def test_blocks_come_to_what_the_notebook_comes_to(tmp_path: Path) -> None:
    told = WHOLE.replace(b"print(answer)", b"print('answer', answer)").replace(b"%matplotlib inline", b"pass")
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    parts.mkdir()
    whole.mkdir()
    skipped = json.loads(told)
    skipped["cells"] = [each for each in skipped["cells"] if "skip" not in each["metadata"].get("tags", [])]
    printed = texts(execute(whole, json.dumps(skipped).encode(), {"n": 6}))
    found = run_blocks(room.parse(WHOLE, "m.ipynb"), parts, ["n=6"])
    assert float(re.findall(r"answer (\S+)", printed)[0]) == found["answer"]


def test_the_page_is_read_offline_and_runs_nothing(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    table = "import pandas as pd\ndisplay(pd.DataFrame({'a<b>': [1, 2]}))"
    attack = (
        "from IPython.display import HTML, SVG, Markdown\n"
        "bad = '<script>document.title=1</script><img src=http://192.0.2.1/x onerror=document.title=1>'\n"
        "bad += '<meta http-equiv=refresh content=\"0;url=http://192.0.2.1\"><style>*{top:0}</style><iframe src=x>'\n"
        "display(HTML(bad), Markdown(bad + '[x](javascript:document.title=1)'))\n"
        "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"document.title=1\"></svg>'))\n"
        "raise ValueError(bad)"
    )  # fmt: skip
    with pytest.raises(InputError):
        execute(tmp_path, notebook("md:# Head <script>document.title=1</script>", table, attack))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "out" / "o.html").as_uri(), wait_until="networkidle")
        assert page.title() == "train.ipynb" and page.url.startswith("file:")
        assert [each for each in asked if not each.startswith(("file:", "data:"))] == []
        assert page.locator("th", has_text="a<b>").is_visible() and page.locator("h1", has_text="Head").is_visible()
        assert page.get_by_text("cell 3, line 6: ValueError").is_visible()
        assert page.locator("script, iframe, meta[http-equiv=refresh]").count() == 0
        browser.close()
