#!/bin/sh
# What a pipeline does with models, for any CI: needs git, modelpack and a checkout with history; no container.
#
#   ci/modelpack.sh changed             the models that the push changed: name, folder, version, a line each
#   ci/modelpack.sh package [MODEL...]  build and push their images; prints the references
#   ci/modelpack.sh rehearse [REF...]   a rollout of each on this machine, from what Git names now; leaves reports
#   ci/modelpack.sh comment [REPORT...] write the reports into the pull request that the pipeline runs for
#   ci/modelpack.sh bump [REF...]       name them in Git
#   ci/modelpack.sh train [NOTEBOOK...] train the models whose notebooks the push changed, and follow it
#
# Without words package takes what changed, rehearse and bump what was packaged, comment what was rehearsed.
#
#   MODELPACK_MODEL    these models (a line each) instead of what changed
#   MODELPACK_VERSION  their version; else the one that the changed files name, else git describe, else the commit
#   MODELPACK_BASE     the commit before the push; none, or zeros: where the checkout left MODELPACK_BRANCH
#   MODELPACK_BRANCH   the branch that serves [main]       MODELPACK_REPO  its repository [.]
#   MODELPACK_PR       true: bump by a pull request        MODELPACK_PR_NUMBER  whom to comment [the pipeline's]
#   MODELPACK_SPEED    divides a rehearsal's intervals [1] MODELPACK_OUT   what is left for later jobs [modelpack-ci]
#   MODELPACK_REFS     a line each, MODELPACK_REPORT a report in JSON each: what an earlier job left
#   MODELPACK_TRAIN    the training's command in sh, the notebook is its $1 [modelpack train MODEL]
#   MODELPACK_KUBECONFIG  train: a kubeconfig, or its file, for the cluster in which the training runs
#   MODELPACK_REGISTRY, MODELPACK_REGISTRY_USER, MODELPACK_REGISTRY_PASSWORD  a login [docker's own]
#
# Exit codes are modelpack's: 2 usage, 3 not found, 4 refused, 5 try again, 6 integrity, 7 rolled back, 8 no verdict.
set +x # a CI's trace would show logins
set -euf

# Names come from whoever pushed: a line of its own could be a command to GitHub's runner.
say() { printf 'modelpack: %s\n' "$(printf '%s' "$*" | LC_ALL=C tr '\000-\037\177' '?')" >&2; }
fail() {
    code=$1
    shift
    say "$*"
    exit "$code"
}

branch=${MODELPACK_BRANCH:-main}
repo=${MODELPACK_REPO:-.}
out=${MODELPACK_OUT:-modelpack-ci}
tab=$(printf '\t')
git check-ref-format "refs/heads/$branch" && [ "${branch#-}" = "$branch" ] || fail 2 "$branch: is not a branch's name"
case $out in /* | ./*) ;; *) out=./$out ;; esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- what changed

# The commit to compare with: what the CI says was there before; of a new branch, where it left the one that serves.
base_commit() {
    base=${MODELPACK_BASE:-}
    case $base in *[!0]*) ;; *) base='' ;; esac
    if [ -z "$base" ]; then
        base=$(git merge-base HEAD "refs/remotes/origin/$branch" 2>/dev/null) || base=''
        if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then base='HEAD^'; fi
    fi
    printf '%s\n' "$base"
}

changed() {
    base=$(base_commit)
    modelpack changed --base "$base"
}

# What is wanted: name, folder, version, a line each.
wanted() {
    if [ $# -eq 0 ] && [ -z "${MODELPACK_MODEL:-}" ]; then
        changed
        return
    fi
    if [ $# -eq 0 ]; then printf '%s\n' "$MODELPACK_MODEL"; else printf '%s\n' "$@"; fi | while IFS= read -r name; do
        case $name in
        '') continue ;;
        *[!a-z0-9-]* | -*) fail 2 "$name: is not a model's name; it has lower case letters, digits and dashes" ;;
        esac
        [ -f "model-images/$name/model.yaml" ] || fail 3 "model-images/$name/model.yaml: there is no such file"
        printf '%s\t%s\t\n' "$name" "model-images/$name"
    done
}

# A version for this commit: its tag, or the nearest one with the distance, in the letters that an image's tag may have.
version_of_commit() {
    found=$(git describe --tags --abbrev=12 HEAD 2>/dev/null) || found=g$(git rev-parse --short=12 HEAD)
    printf '%s' "$found" | LC_ALL=C tr -c 'A-Za-z0-9._-' '-' | cut -c 1-100
}

# --- logins

# Docker's configuration for this run alone; the password is on no command line.
registry_login() {
    [ -n "${MODELPACK_REGISTRY_PASSWORD:-}" ] || return 0
    case ${MODELPACK_REGISTRY:-} in
    '' | *[!A-Za-z0-9.:-]*) fail 2 "MODELPACK_REGISTRY: is no registry's host[:port], like registry.example.com" ;;
    esac
    mkdir -m 700 "$scratch/docker"
    login=$(printf '%s:%s' "${MODELPACK_REGISTRY_USER:-}" "$MODELPACK_REGISTRY_PASSWORD" | base64 | tr -d '\n')
    printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$MODELPACK_REGISTRY" "$login" >"$scratch/docker/config.json"
    unset login MODELPACK_REGISTRY_PASSWORD
    DOCKER_CONFIG=$scratch/docker
    export DOCKER_CONFIG
}

# GitLab's job token may neither push nor comment: git is told of the one that may, for this server alone.
git_login() {
    if [ -z "${GITLAB_TOKEN:-}" ] || [ -z "${CI_SERVER_URL:-}" ]; then return 0; fi
    at=${GIT_CONFIG_COUNT:-0}
    # shellcheck disable=SC2016 # git's shell reads the variable
    helper='!f() { if [ "$1" = get ]; then printf "username=oauth2\npassword=%s\n" "$GITLAB_TOKEN"; fi; }; f'
    export GIT_CONFIG_COUNT="$((at + 1))" "GIT_CONFIG_KEY_$at=credential.$CI_SERVER_URL.helper" "GIT_CONFIG_VALUE_$at=$helper"
}

# The cluster's login in a file of this run alone, which goes with it.
kube_login() {
    [ -n "${MODELPACK_KUBECONFIG:-}" ] || return 0
    if [ -f "$MODELPACK_KUBECONFIG" ]; then # GitLab's variables of type file
        KUBECONFIG=$MODELPACK_KUBECONFIG
    else
        KUBECONFIG=$scratch/kubeconfig
        (umask 077 && printf '%s\n' "$MODELPACK_KUBECONFIG" >"$KUBECONFIG")
    fi
    unset MODELPACK_KUBECONFIG
    export KUBECONFIG
}

# --- the steps

package() {
    registry_login
    mkdir -p "$out"
    : >"$out/refs"
    wanted "$@" >"$scratch/wanted"
    [ -s "$scratch/wanted" ] || say "the push changed no model"
    while IFS=$tab read -r name folder version; do
        version=${MODELPACK_VERSION:-${version:-$(version_of_commit)}}
        say "$name $version from $folder"
        modelpack build "--version=$version" --push -- "$folder" </dev/null >"$scratch/built"
        sed -n 's/^pushed //p' "$scratch/built" >>"$out/refs"
    done <"$scratch/wanted"
    cat "$out/refs"
}

# The references of this step, a line each: its words, else what an earlier job left.
references() {
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@"
    elif [ -n "${MODELPACK_REFS:-}" ]; then
        printf '%s\n' "$MODELPACK_REFS"
    elif [ -f "$out/refs" ]; then
        cat "$out/refs"
    fi | sed '/^[[:space:]]*$/d' >"$scratch/refs"
    if grep -q '^-' "$scratch/refs"; then fail 2 "a reference does not start with a dash"; fi
    [ -s "$scratch/refs" ] || say "nothing was packaged"
}

# Every reference is rehearsed, whatever became of the one before; the first failure is the step's.
rehearse() {
    registry_login
    # the servers that run here are the push's own programs
    unset GITHUB_TOKEN GH_TOKEN GITLAB_TOKEN GITEA_TOKEN FORGEJO_TOKEN CI_JOB_TOKEN CI_REGISTRY_PASSWORD
    references "$@"
    mkdir -p "$out"
    : >"$out/reports"
    : >"$out/brief"
    # the checkout's own commit as the branch that serves: a pull request is rehearsed with its manifests, gate and
    # golden set
    git clone --quiet --bare . "$scratch/tip.git" 2>/dev/null || fail 5 "the checkout cannot be cloned"
    git -C "$scratch/tip.git" update-ref "refs/heads/$branch" "$(git rev-parse HEAD)"
    worst=0 number=0
    while IFS= read -r reference; do
        number=$((number + 1)) code=0
        rm -rf "$out/report-$number"
        rehearse_one "$reference" "$out/report-$number" || code=$?
        if [ -f "$out/report-$number/report.json" ]; then
            printf '%s\n' "$out/report-$number/report.json" >>"$out/reports"
            modelpack comment --brief -- "$out/report-$number/report.json" >>"$out/brief"
            summary "$out/report-$number/report.json"
        fi
        [ "$worst" != 0 ] || worst=$code
    done <"$scratch/refs"
    return "$worst"
}

# First what Git names becomes the primary, then the reference is its canary.
rehearse_one() {
    state=$scratch/state-$number
    served=$(modelpack bump --dry-run --json --repo "$scratch/tip.git" --branch "$branch" -- "$1" </dev/null) ||
        return $?
    served=$(printf '%s\n' "$served" | sed -n 's/.*"old": "\([^"\\]*\)".*/\1/p')
    # a first version replaces none: Git names a placeholder then
    if [ -n "$served" ] && modelpack inspect -- "$served" </dev/null >/dev/null 2>&1; then
        rehearsal "$served" "$scratch/first" || return $?
    else
        say "what Git names is not in the registry: $1 is rehearsed as a first version"
    fi
    rehearsal "$1" "$2"
}

rehearsal() {
    modelpack rehearse --repo "$scratch/tip.git" --branch "$branch" --state "$state" --no-settle \
        --speed "${MODELPACK_SPEED:-1}" --report "$2" -- "$1" </dev/null >&2
}

# GitHub and Gitea show it on the pipeline's page.
summary() {
    [ -n "${GITHUB_STEP_SUMMARY:-}" ] || return 0
    modelpack comment --dry-run -- "$1" >>"$GITHUB_STEP_SUMMARY" || say "the page's summary was not written"
}

comment() {
    git_login
    : >"$scratch/reports"
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@" >"$scratch/reports"
    elif [ -n "${MODELPACK_REPORT:-}" ]; then
        number=0
        printf '%s\n' "$MODELPACK_REPORT" | while IFS= read -r line; do
            [ -n "$line" ] || continue
            number=$((number + 1))
            printf '%s\n' "$line" >"$scratch/report-$number.json"
            printf '%s\n' "$scratch/report-$number.json" >>"$scratch/reports"
        done
    elif [ -f "$out/reports" ]; then
        cat "$out/reports" >"$scratch/reports"
    fi
    [ -s "$scratch/reports" ] || say "nothing was rehearsed"
    while IFS= read -r report; do
        modelpack comment --repo "$repo" --branch "$branch" ${MODELPACK_PR_NUMBER:+"--pr=$MODELPACK_PR_NUMBER"} -- \
            "$report" </dev/null
    done <"$scratch/reports"
}

bump() {
    registry_login
    git_login
    references "$@"
    set --
    while IFS= read -r reference; do set -- "$@" "$reference"; done <"$scratch/refs"
    [ $# -gt 0 ] || return 0
    case ${MODELPACK_PR:-false} in
    true) modelpack bump --repo "$repo" --branch "$branch" --pr -- "$@" ;;
    false) modelpack bump --repo "$repo" --branch "$branch" -- "$@" ;;
    *) fail 2 "MODELPACK_PR: is true or false" ;;
    esac
}

train() {
    registry_login
    kube_login
    : >"$scratch/trained"
    if [ $# -gt 0 ]; then
        for notebook; do train_one "$notebook"; done
        return
    fi
    base=$(base_commit)
    git rev-parse --verify --quiet --end-of-options "$base^{commit}" >/dev/null ||
        fail 3 "$base: is no commit of this checkout; fetch more history"
    base=$(git merge-base "$base" HEAD) || fail 3 "$base: has no history in common with the checkout"
    git diff-tree -r -z --no-renames --name-only --diff-filter=d "$base" HEAD -- '*.ipynb' >"$scratch/paths"
    # a path may hold any byte but NUL: newlines travel as another byte, and back
    LC_ALL=C tr '\n\000' '\001\n' <"$scratch/paths" >"$scratch/lines"
    [ -s "$scratch/lines" ] || say "the push changed no notebook"
    while IFS= read -r notebook; do
        train_one "$(printf '%s' "$notebook" | tr '\001' '\n')"
    done <"$scratch/lines"
}

train_one() {
    case $1 in /*) set -- "$1" ;; *) set -- "./${1#./}" ;; esac
    [ -f "$1" ] || fail 3 "$1: there is no such notebook"
    if [ -n "${MODELPACK_TRAIN:-}" ]; then
        say "training of $1"
        sh -euc "$MODELPACK_TRAIN" modelpack-train "$1" </dev/null
        return
    fi
    model=${1#./model-images/}
    model=${model%%/*}
    case $model in *[!a-z0-9-]* | -* | '') model=. ;; esac
    if [ ! -f "model-images/$model/training.yaml" ]; then
        say "$1: belongs to no model with a training.yaml, so it is not trained"
        return
    fi
    # several notebooks of one model are one training
    if grep -qxF -e "$model" "$scratch/trained"; then return; fi
    printf '%s\n' "$model" >>"$scratch/trained"
    say "training of $model"
    modelpack train --repo "$repo" --branch "$branch" --wait -- "$model" </dev/null
}

# --- which one

step=${1:-}
[ $# -eq 0 ] || shift
case $step in
changed | package | rehearse | comment | bump | train) "$step" "$@" ;;
*) fail 2 "${step:-no step}: the steps are changed, package, rehearse, comment, bump and train" ;;
esac
