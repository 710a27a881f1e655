#!/usr/bin/env bash
# The main job by one command, on this machine or on a cluster: see usage below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'USAGE'
usage: ./start.sh [--train] [--keep]
       ./start.sh --cluster ...    the same on a Kubernetes cluster; ./start.sh --cluster --help says more
       ./start.sh --down ...       removes what --cluster put there

Trains four versions of a fuel economy model, packages each as a model container, names them one after the other in Git,
and rehearses each rollout with real traffic through a real Envoy: v2 is promoted, v3 is stopped by the golden set, v4
under traffic; after each failure Git is reverted. Needs Python 3.10 or later, git, and PyPI the first time.

  --train  the loop before the rollout instead: new data is committed, the reconciler trains a notebook on it, checks the
           data, holds the candidate against what serves, and names it in Git if it passed; v2 is promoted, a version
           of broken data and one that is worse are not even proposed
  --keep   leave the page up when done; the next run, or the command it prints, stops it

Everything it makes is below .venv/ and var/example/ (var/training/ with --train, var/cluster/ with --cluster).
USAGE
}

KEEP=
WHERE=example
case ${1:-} in --cluster | --down) WHERE=cluster ;; esac
if [ "$WHERE" != cluster ]; then
    for word in "$@"; do
        case $word in
            --keep) KEEP=yes ;;
            --train) WHERE=training ;;
            -h | --help) usage; exit 0 ;;
            *) echo "start.sh: unknown word $word" >&2; usage >&2; exit 2 ;;
        esac
    done
fi

EXAMPLE=var/$WHERE
ORIGIN=$EXAMPLE/git/mpg.git
CHECKOUT=$EXAMPLE/checkout
CLUSTER=$EXAMPLE/cluster
REPORTS=$EXAMPLE/reports
IMAGE=registry.local/models/mpg
SPEED=10 # an analysis interval of 10 s takes 1 s
RATE=250 # requests per second

# Nobody's Git settings, signing, proxy or state take part. Paths are relative, so that spaces in the checkout's path do no harm.
export MODELPACK_VIA="registry.local/=oci:./$EXAMPLE/registry" MODELPACK_HOME="$EXAMPLE/home"
export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
unset "${!GIT_@}"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=start.sh GIT_AUTHOR_EMAIL=start@example.com
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL

say() { printf '\n== %s\n' "$*"; }
die() { printf 'start.sh: %s\n' "$*" >&2; exit 1; }

# --- processes -------------------------------------------------------------------------------------------------------
CHILD= # what is being waited for
GATE= # what runs beside

# Runs a command so that a signal to this script reaches it at once: bash would wait for a child in the foreground.
run() {
    "$@" &
    CHILD=$!
    local code=0
    wait "$CHILD" || code=$?
    CHILD=
    return "$code"
}

end() { # PID: ask it to stop, wait until it has
    kill -TERM "$1" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

clean_up() {
    local code=$?
    trap '' INT TERM HUP
    [ -z "$CHILD" ] || end "$CHILD"
    if [ -n "$GATE" ] && { [ -z "$KEEP" ] || [ "$code" != 0 ]; }; then
        end "$GATE"
        rm -f "$EXAMPLE/gate.pid"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# An earlier --keep left its gate; the process by that number may be somebody else's by now.
end_earlier_gate() {
    local pid words
    pid=$(cat "$EXAMPLE/gate.pid" 2>/dev/null || true)
    [ -n "$pid" ] || return 0
    words=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null || ps -o args= -p "$pid" 2>/dev/null || true)
    case $words in *"gate serve --rehearsal $PWD/$CLUSTER "*) end "$pid" ;; esac
}

# --- what it needs ---------------------------------------------------------------------------------------------------
install() { # NAME EXTRA of .ci/venv
    if ! { command -v git && python3 -c 'import ensurepip, venv'; } >/dev/null 2>&1; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            die "git and Python's venv are needed: on Debian, apt-get install git python3-venv"
        fi
        say "Installing git and python3-venv"
        { apt-get update -q && apt-get install -qy --no-install-recommends git python3-venv; } >/dev/null </dev/null
    fi
    run .ci/venv "$@" example
    PATH="$PWD/.venv/bin:$PATH"
}

# --- the steps -------------------------------------------------------------------------------------------------------
make_repository() { # [COMMAND]: what edits the files before they are committed
    say "A Git repository with the manifests, the Canary and the gate: $ORIGIN"
    git init -q --bare -b main "$ORIGIN"
    git init -q -b main "$CHECKOUT"
    mkdir -p "$CHECKOUT/model-images" "$CHECKOUT/manifests" "$CHECKOUT/flagger"
    cp -R manifests/mpg "$CHECKOUT/manifests/"
    cp -R flagger/mpg "$CHECKOUT/flagger/"
    cp -R model-images/mpg "$CHECKOUT/model-images/"
    rm -rf "$CHECKOUT"/model-images/mpg/{artifacts,__pycache__,rejected.yaml}
    "${@:-true}"
    git -C "$CHECKOUT" add -A
    git -C "$CHECKOUT" commit -q -m "Serve mpg: Deployment, Canary, gate"
    git -C "$CHECKOUT" remote add origin "$PWD/$ORIGIN"
    git -C "$CHECKOUT" push -q origin main
}

start_gate() {
    mkdir -p "$CLUSTER" "$EXAMPLE/logs"
    nohup python -m modelpack gate serve --rehearsal "$PWD/$CLUSTER" --json \
        >"$EXAMPLE/logs/gate.json" 2>"$EXAMPLE/logs/gate.log" </dev/null 9>&- &
    GATE=$!
    printf '%s\n' "$GATE" >"$EXAMPLE/gate.pid"
}

await_gate() { # sets URL
    for _ in $(seq 300); do
        URL=$(sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' "$EXAMPLE/logs/gate.json")
        if [ -n "$URL" ]; then
            say "Live page: $URL"
            return 0
        fi
        kill -0 "$GATE" 2>/dev/null || break
        sleep 0.1
    done
    cat "$EXAMPLE/logs/gate.log" >&2
    die "the gate did not start"
}

# rollout VERSION EXPECTED-EXIT-CODE WORDS...: commit the version, rehearse it, insist on how it ends.
rollout() {
    local version=$1 expected=$2
    shift 2
    say "$version: $*"
    run modelpack bump "$IMAGE:$version" --repo "$ORIGIN" --branch main
    rehearse "$version" "$expected"
}

rehearse() { # VERSION EXPECTED-EXIT-CODE: of what Git names
    local version=$1 expected=$2 code=0
    run modelpack rehearse --repo "$ORIGIN" --branch main --state "$CLUSTER" --gate "$URL" \
        --traffic model-images/mpg/traffic.jsonl --rate "$RATE" --speed "$SPEED" --report "$REPORTS/$version" --timeout 120 || code=$?
    [ "$code" = "$expected" ] || die "$version ended with exit code $code, expected was $expected (logs: $EXAMPLE)"
}

summary() {
    local image
    image=$(git --git-dir="$ORIGIN" show main:manifests/mpg/deployment.yaml | sed -n "s|.*image: \(${IMAGE}[^ ]*\).*|\1|p")
    say "Done in $SECONDS s"
    python - "$REPORTS" <<'PYTHON'
import json, pathlib, re, sys

for report in sorted(pathlib.Path(sys.argv[1]).glob("*/report.json")):
    found = json.loads(report.read_bytes())
    rollout = found["rollout"] or {"reason": "the first version", "checks": []}
    names = "|".join(re.escape(each["name"]) for each in rollout["checks"])
    print(f"\n  {report.parent.name}  {found['rehearsal']['result']}: {next(report.parent.glob('*.html'), report)}")
    print("      " + re.sub(rf"; (?=({names}): )", "\n      ", rollout["reason"]))
PYTHON
    printf '\nGit (%s), the newest first:\n' "$ORIGIN"
    git --no-pager --git-dir="$ORIGIN" log --format='  %h %s'
    printf '\nServing: %s\n' "$image"
    printf '\nTo rehearse by hand, after a commit there:\n'
    printf '  MODELPACK_VIA=%q .venv/bin/modelpack rehearse --repo %s --state %s%s' "$MODELPACK_VIA" "$ORIGIN" "$CLUSTER" "${KEEP:+ --gate $URL}"
    printf ' --traffic model-images/mpg/traffic.jsonl --rate %s --speed %s\n' "$RATE" "$SPEED"
    if [ -n "$KEEP" ]; then printf '\nThe page stays up: %s (stop it with: kill %s)\n' "$URL" "$GATE"; fi
}

# --- the job ---------------------------------------------------------------------------------------------------------
mkdir -p var
exec 9>"$EXAMPLE.lock"
if command -v flock >/dev/null && ! flock -n 9; then die "another start.sh is running in this checkout"; fi

if [ "$WHERE" = cluster ]; then
    . manifests/cluster.sh
    exit 0
fi

if [ "$WHERE" = training ]; then install train rehearse,train; else install start rehearse; fi
end_earlier_gate
rm -rf "${EXAMPLE:?}"
mkdir -p "$EXAMPLE"

if [ "$WHERE" = training ]; then
    . model-images/training.sh
    train_job
    exit 0
fi

start_gate # gets ready meanwhile
make_repository

say "Training v1 to v4"
run python "$CHECKOUT/model-images/mpg/train.py" v1 v2 v3 v4
await_gate

say "Packaging each as a model container, pushed to $EXAMPLE/registry"
for version in v1 v2 v3 v4; do
    run modelpack build "$CHECKOUT/model-images/mpg" --version "$version" --push
done

rollout v1 0 "the first version, nothing to compare it with"
rollout v2 0 "better, to be promoted"
rollout v3 7 "trained on the wrong unit, to be stopped by the golden set"

say "v3 again: Git remembers that it was rejected"
code=0
run modelpack bump "$IMAGE:v3" --repo "$ORIGIN" --branch main || code=$?
[ "$code" = 4 ] || die "a rejected model was not refused (exit code $code)"

rollout v4 7 "fails for a fifth of the traffic, to be stopped under traffic"
summary
