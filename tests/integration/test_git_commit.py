"""How a commit is written: author, message, trailers, signature; and that its bytes are those that were meant."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelpack import gitops
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gitops import Style, open_repository
from modelpack.target import parse_target
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, REJECTED, git, wanted
from tests.integration.conftest import everything_must_run

MODEL = "model-images/mpg/model.yaml"
REPORT = "https://gate.example.com/rollouts/r1"


def bump(location: Path, version: str = "v2", **options: Any) -> tuple[gitops.Change, str]:
    with open_repository(str(location)) as repository:
        return gitops.bump(repository, wanted(version), **options)


def message(folder: Path) -> str:
    return git(folder, "log", "-1", "--format=%B", "main")


def test_author_report_and_sign_off(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    bump(bare, style=Style(author="Ada Example <ada@example.com>", signoff=True, report=REPORT))
    assert git(bare, "log", "-1", "--format=%an <%ae>, %cn", "main") == "Ada Example <ada@example.com>, Tests"
    assert message(bare).splitlines()[-6:] == [
        "Model: mpg",
        "Version: v2",
        f"Digest: {serving.digest('v2')}",
        f"Model-Digest: {serving.digest('model v2')}",
        f"Report: {REPORT}",
        "Signed-off-by: Tests <tests@example.com>",
    ]


def test_model_yaml_says_how_and_flags_go_over_it(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    written = "commit: {author: Ada <ada@example.com>, signoff: true, message: 'ship {{ version }}'}\n"
    serving.commit(folder, {MODEL: (folder / MODEL).read_text() + written})
    bump(folder, "v2")
    assert git(folder, "log", "-1", "--format=%an|%s") == "Ada|ship v2"
    assert "Signed-off-by: Tests" in message(folder)
    bump(folder, "v3", style=Style(author="Bob <bob@example.com>", template="{{ model }} goes to {{ version }}"))
    assert git(folder, "log", "-1", "--format=%an|%s") == "Bob|mpg goes to v3"


def test_a_login_in_a_report_is_not_committed(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    bump(bare, style=Style(report="https://ada:p@ss@gate.example.com/r1\nModel: other"))
    assert "Report: https://gate.example.com/r1 Model: other" in message(bare).splitlines()


NOBODY = {
    "no address": "Ada",
    "no at": "Ada <ada>",
    "no name": "<ada@example.com>",
    "two lines": "A\nB <a@example.com>",
    "two addresses": "A <a@b> <c@d>",
    "punctuation": ". <a@b>",
    "NUL": "A\0 <a@b>",
    "colour": "A\x1b[31m <a@b>",
    "another kind of line": "A\u2028B <a@b>",
    "more than a command line holds": "A" * 1_000_000 + " <a@b>",
}


@pytest.mark.parametrize("who", NOBODY)
def test_an_author_that_is_none_is_one_sentence_and_no_commit(tmp_path: Path, who: str) -> None:
    author = NOBODY[who]
    folder = serving.worktree(tmp_path / "work")
    with pytest.raises(InputError, match="is no author") as by_flag:
        bump(folder, style=Style(author=author))
    model = "model-images/mpg/model.yaml"
    text = (folder / model).read_text() + f"commit: {{author: {json.dumps(author)}}}\n"
    serving.commit(folder, {model: text})
    with pytest.raises(InputError, match=r"model.yaml:8: commit.author: .* is no author|model.yaml:8.* …") as by_file:
        bump(folder)
    for each in (str(by_flag.value), str(by_file.value)):
        assert each.isprintable() and len(each) < 2100
    assert serving.count(folder) == 2


def test_a_templates_trailers_and_ours_are_one_block(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    template = (
        "deploy({{ model }}): {{ old }}\n\nto {{ new }}\n{{ environment }}{{ subject }}\n\n"
        "Signed-off-by: Tests <tests@example.com>\nTicket: OPS-1\nVersion: {{ version }}\n"
    )
    bump(bare, style=Style(template=template, report=REPORT, signoff=True))
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=message(bare), capture_output=True, text=True, check=True
    )
    assert parsed.stdout.splitlines() == [
        "Ticket: OPS-1",
        "Version: v2",
        "Model: mpg",
        f"Digest: {serving.digest('v2')}",
        f"Model-Digest: {serving.digest('model v2')}",
        f"Report: {REPORT}",
        "Signed-off-by: Tests <tests@example.com>",
    ]
    assert message(bare).startswith(
        f"deploy(mpg): {serving.image('v1')}\n\nto {serving.image('v2')}\nmpg: v1 -> v2\n\n"
    )


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("one\n{% for %}", "template:2: TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ 'x' * 10000000000 }}", "too much memory"),
        ("{{ '%1000000000d' % 1 }}", "too much memory"),
        ("{{ [model] * 1000000000 }}", "too much memory"),
        ("{{ 'x' * 100000 }}", "longer than 65536 characters"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ("{{ " + "(" * 50000 + " }}", "RecursionError"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not end"),
        (" \n ", "gives no message"),
        ("{{ '\\0' }}x", "NUL"),
    ],
)
def test_a_template_that_fails_is_one_sentence_and_no_commit(tmp_path: Path, template: str, words: str) -> None:
    bare = serving.bare(tmp_path / "bare")
    with pytest.raises(InputError) as caught:
        bump(bare, style=Style(template=template))
    assert str(caught.value).startswith("the commit message's template") and words in str(caught.value)
    assert serving.count(bare) == 1


# --- signing


def ssh_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key of ssh's, and a configuration of git's that signs with it."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "allowed").write_text(f"tests@example.com {key.with_suffix('.pub').read_text()}")
    config = folder / "gitconfig"
    config.write_text(
        f"[user]\n\tname = Tests\n\temail = tests@example.com\n\tsigningKey = {key}.pub\n"
        f'[gpg]\n\tformat = ssh\n[gpg "ssh"]\n\tallowedSignersFile = {folder / "allowed"}\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    return key


def needs(program: str, package: str) -> pytest.MarkDecorator:
    there = shutil.which(program) or everything_must_run()
    return pytest.mark.skipif(not there, reason=f"apt-get install {package}")


needs_ssh, needs_gpg = needs("ssh-keygen", "openssh-client"), needs("gpg", "gnupg")


@needs_ssh
@pytest.mark.parametrize("by", ["flag", "configuration"])
def test_signed_with_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    bare = serving.bare(tmp_path / "bare")
    ssh_key(tmp_path, monkeypatch)
    if by == "configuration":
        git(tmp_path, "config", "--global", "commit.gpgSign", "true")
    bump(bare, style=Style(sign=by == "flag"))
    git(bare, "verify-commit", "main")
    git(bare, "fsck", "--strict")


@needs_gpg
def test_signed_with_gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    bare = serving.bare(tmp_path / "bare")
    home = tmp_path_factory.mktemp("g")  # its agent's socket has to have a short name
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    key = ["--batch", "--passphrase", "", "--quick-gen-key", "Tests <tests@example.com>", "ed25519", "sign", "never"]
    try:
        subprocess.run(["gpg", *key], check=True, capture_output=True)
        bump(bare, style=Style(sign=True))
        git(bare, "verify-commit", "main")
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False, capture_output=True)


@pytest.mark.parametrize("how", ["no key", "no file", "not a key"])
@pytest.mark.parametrize("kind", ["bare", "work"])
def test_what_cannot_be_signed_is_not_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: str
) -> None:
    location = {"bare": serving.bare, "work": serving.worktree}[kind](tmp_path / kind)
    config = tmp_path / "gitconfig"
    (tmp_path / "junk").write_text("no key")
    key = {"no key": "", "no file": f"signingKey = {tmp_path}/gone", "not a key": f"signingKey = {tmp_path}/junk"}[how]
    config.write_text(f"[user]\n\tname = Tests\n\temail = tests@example.com\n\t{key}\n[gpg]\n\tformat = ssh\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    with pytest.raises(RefusedError, match=r"the commit cannot be signed: .*; set user\.signingKey"):
        bump(location, style=Style(sign=True))
    assert serving.count(location) == 1


# --- several, and by flag


def two_models(folder: Path) -> Path:
    folder = serving.worktree(folder)
    for path, text in serving.files("v3").items():
        if "mpg" in path:
            serving.commit(folder, {path.replace("mpg", "tips"): text.replace("mpg", "tips")})
    return folder


def tips(version: str) -> gitops.Wanted:
    reference = gitops.Wanted(*vars(wanted(version)).values()).reference
    digest = serving.digest(f"tips {version}")
    return gitops.Wanted(type(reference).parse(f"registry.local/models/tips:{version}@{digest}"), version, "")


def test_many_wanted_at_once_become_one_commit(tmp_path: Path) -> None:
    folder = two_models(tmp_path / "work")
    before = serving.count(folder)
    with open_repository(str(folder)) as repository:
        change, _ = gitops.bump(repository, [wanted("v2"), tips("v4"), wanted("v2")])
    assert serving.count(folder) == before + 1
    assert message(folder).splitlines()[0] == "mpg: v1 -> v2, tips: v3 -> v4"
    assert git(folder, "log", "-1", "--format=%(trailers:key=Model,valueonly,separator=%x2C)") == "mpg,tips"
    assert (change.model, [each.model for each in change.parts]) == ("mpg, tips", ["mpg", "tips"])
    with open_repository(str(folder)) as repository:
        change, _ = gitops.bump(repository, [wanted("v2"), tips("v5")])  # only what changes is told
    assert message(folder).splitlines()[0] == "tips: v4 -> v5"


def test_one_that_is_refused_refuses_all(tmp_path: Path) -> None:
    folder = two_models(tmp_path / "work")
    serving.commit(folder, {REJECTED: f"- image: {serving.image('v2')}\n"})
    before = git(folder, "rev-parse", "main")
    with open_repository(str(folder)) as repository:
        for many, error in (([tips("v4"), wanted("v2")], RefusedError), ([wanted("v3"), wanted("v4")], InputError)):
            with pytest.raises(error):
                gitops.bump(repository, many)
        with pytest.raises(InputError):
            gitops.bump(repository, [])
    assert git(folder, "rev-parse", "main") == before


def test_targets_by_flag_need_no_model_yaml(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    (folder / MODEL).unlink()
    serving.commit(folder, {})
    target = parse_target(f"file: {DEPLOYMENT}, kind: Deployment, name: mpg, initContainer: model")
    change, _ = bump(folder, targets=(target,), environment="staging")
    assert (change.model, serving.served(folder)) == ("mpg", serving.deployment("v2"))
    assert "Environment: staging" in message(folder).splitlines()
    with pytest.raises(NotFoundError, match="gone: --target names it"):
        bump(folder, targets=(parse_target("file: gone, name: mpg, initContainer: model"),))
    serving.commit(folder, {REJECTED: f"- image: {serving.image('v3')}\n"})
    with pytest.raises(RefusedError, match="was rejected"):
        bump(folder, "v3", targets=(target,))


def test_what_stands_in_a_file_is_no_trailer_and_stops_no_commit(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    old = "x\\n\\nPromoted-From: staging\\nReport: https://evil.example"
    serving.commit(folder, {DEPLOYMENT: serving.deployment("v1").replace(serving.image("v1"), old)})
    template = "{{ subject }}\n\nfrom {{ old }} {{ '\\ud800\\u0007' }}."
    bump(folder)
    assert not re.search("^(Promoted-From|Report):", message(folder), re.MULTILINE)
    bump(folder, "v3", style=Style(template=template))
    assert "\a" not in message(folder)


def test_without_env_it_is_not_the_first_environment_of_another_branch(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    head, _, targets = (folder / MODEL).read_text().partition("targets:\n")
    serving.commit(folder, {MODEL: f"{head}environments:\n- name: staging\n  branch: next\n  targets:\n  {targets}"})
    git(folder, "branch", "next")
    with pytest.raises(InputError, match="environment staging is on the branch next; give --env staging"):
        bump(folder)
    with open_repository(str(folder), "next") as repository:
        assert gitops.bump(repository, wanted("v2"))[1]
    assert serving.served(folder) == serving.deployment("v1")


def test_an_environment_has_its_own_targets(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    target = (folder / MODEL).read_text().splitlines()[-1].removeprefix("- ")
    head = (folder / MODEL).read_text().partition("targets:")[0]
    other = target.replace("manifests/mpg", "production")
    environments = (
        f"environments:\n- {{name: staging, targets: [{target}]}}\n- {{name: production, targets: [{other}]}}\n"
        "- {name: far, repository: 'https://git.example.com/far.git'}\n"
    )
    production = "production/deployment.yaml"
    serving.commit(folder, {MODEL: head + environments, production: serving.deployment("v0")})
    bump(folder, "v2")
    assert "Environment: staging" in message(folder).splitlines()
    bump(folder, "v3", environment="production")
    assert "Environment: production" in message(folder).splitlines()
    assert (folder / DEPLOYMENT).read_text() == serving.deployment("v2")
    assert (folder / production).read_text() == serving.deployment("v3")
    for name, error in (("productoin", NotFoundError), ("far", InputError)):
        with pytest.raises(error, match=r"production|another repository"):
            bump(folder, "v4", environment=name)


# --- bytes


ATTRIBUTES = """\
* text eol=crlf ident
*.yaml filter=loud working-tree-encoding=UTF-16 export-ignore diff=loud
*.bin filter=lfs diff=lfs merge=lfs -text
"""
POINTER = f"version https://git-lfs.github.com/spec/v1\noid {serving.digest('weights')}\nsize 7\n"


@pytest.mark.parametrize("kind", ["work", "clone", "bare"])
def test_attributes_and_filters_alter_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n\tname = Tests\n\temail = tests@example.com\n[core]\n\tautocrlf = true\n\tfsmonitor = touch ran\n"
        '[filter "loud"]\n\tclean = tr a-z A-Z\n\tsmudge = tr a-z A-Z\n\trequired = true\n'
        '[filter "lfs"]\n\tclean = false\n\tsmudge = false\n\tprocess = false\n\trequired = true\n'
    )
    bare = serving.bare(tmp_path / "bare")
    with open_repository(str(bare)) as repository:
        files = {".gitattributes": ATTRIBUTES.encode(), "model.bin": POINTER.encode(), "odd.yaml": b"a: $Id$\r\n"}
        assert repository.publish(repository.commit(files, "attributes\n"))
    location = bare
    if kind != "bare":
        location = tmp_path / kind
        git(tmp_path, "clone", "--quiet", "--no-checkout", "bare", str(location))
        if kind == "work":
            git(location, "remote", "remove", "origin")
        git(location, "symbolic-ref", "HEAD", "refs/heads/elsewhere")  # its own checkout would filter, as it should
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with open_repository(str(location)) as repository:
        gitops.bump(repository, wanted("v2"))
        repository.export(tmp_path / "out")
    branch_at = location if kind == "work" else bare
    assert serving.served(branch_at) == serving.deployment("v2")
    assert git(branch_at, "diff", "--numstat", "main^", "main") == f"1\t1\t{DEPLOYMENT}"
    assert (tmp_path / "out" / DEPLOYMENT).read_bytes() == serving.deployment("v2").encode()
    assert (tmp_path / "out/model.bin").read_text() == POINTER
    assert (tmp_path / "out/odd.yaml").read_bytes() == b"a: $Id$\r\n"
    assert not [path for path in tmp_path.rglob("ran") if "hooks" not in path.parts]
