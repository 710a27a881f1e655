# shellcheck shell=bash
# Continuous training on this machine, for start.sh --train. Data is committed; the reconciler trains, holds the
# candidate against what serves, and names it in Git if it passed; its rollout is rehearsed and the verdict recorded.

MODEL_FOLDER=$CHECKOUT/model-images/mpg

edit_model() { # before the first commit: no forge is here to open a pull request, and no version serves yet
    printf 'propose: commit\n' >>"$MODEL_FOLDER/training.yaml"
    sed -i.orig "s|$IMAGE:v1|$IMAGE:v0|" "$CHECKOUT/manifests/mpg/deployment.yaml"
    sed -i.orig 's|^source: .*|source: ./artifacts/{version}|' "$MODEL_FOLDER/model.yaml"
    rm -f "$CHECKOUT"/manifests/mpg/*.orig "$MODEL_FOLDER"/*.orig
    write_data 1977
}

write_data() { (cd "$MODEL_FOLDER" && python data.py cars.csv --until "$1"); }

in_kilometres_per_litre() {
    python - "$MODEL_FOLDER/cars.csv" <<'PYTHON'
import csv, pathlib, sys

path = pathlib.Path(sys.argv[1])
header, *rows = csv.reader(path.read_text().splitlines())
place = header.index("mpg")
lines = [header, *([*row[:place], f"{float(row[place]) / 2.352:.3f}", *row[place + 1 :]] for row in rows)]
path.write_text("".join(",".join(line) + "\n" for line in lines))
PYTHON
}

publish_change() { # MESSAGE: onto what the reconciler committed meanwhile
    git -C "$CHECKOUT" add -A
    git -C "$CHECKOUT" commit -q -m "$1"
    git -C "$CHECKOUT" pull -q --rebase origin main
    git -C "$CHECKOUT" push -q origin main
}

# Rounds until one finds nothing left to do.
reconcile() {
    local said="$EXAMPLE/logs/reconcile.json"
    for _ in $(seq 120); do
        run modelpack reconcile mpg --once --repo "$ORIGIN" --branch main --gate "$URL" --json >"$said"
        if python - "$said" <<'PYTHON'; then return 0; fi
import json, pathlib, sys

found = json.loads(pathlib.Path(sys.argv[1]).read_bytes())["outcomes"]
for each in found:
    if each["action"] not in ("nothing", "waiting"):
        print(f"{each['what']}: {each['action']}: {each['reason']}")
sys.exit(any(each["action"] != "nothing" for each in found))
PYTHON
        sleep 1
    done
    die "the reconciler did not come to rest (runs: $MODELPACK_HOME/runs)"
}

named() { git --git-dir="$ORIGIN" show main:manifests/mpg/deployment.yaml | sed -n "s|.*image: $IMAGE:\([^@]*\).*|\1|p"; }

expect_named() { [ "$(named)" = "$1" ] || die "Git names $(named), expected was $1"; }

table_of_last_run() { # what it was held against, and how it came out
    local id newest='import json, sys; print(max((each["run"] for each in json.load(sys.stdin)["runs"]), key=lambda run: run["created"])["id"])'
    id=$(modelpack runs --json | python -c "$newest")
    modelpack runs log "$id" | sed -n '/^--- \(validate\|evaluate\)/,/^--- /p' | grep -v '^---'
}

train_job() {
    start_gate
    make_repository edit_model
    await_gate

    say "Cars up to 1977: nothing was trained yet"
    reconcile
    expect_named v1
    rehearse v1 0

    say "Cars up to 1979: new data"
    write_data 1979
    publish_change "Cars up to 1979"
    reconcile
    expect_named v2
    table_of_last_run
    rehearse v2 0

    say "Cars up to 1982, exported in kilometres per litre: the data's checks stop the run"
    write_data 1982
    in_kilometres_per_litre
    publish_change "Cars up to 1982"
    reconcile
    expect_named v2
    table_of_last_run

    say "The right data, and a notebook that learns from forty cars: worse than v2, so it is not proposed"
    write_data 1982
    sed -i.orig 's|pd.read_csv(data)|pd.read_csv(data).head(40)|' "$MODEL_FOLDER/production.ipynb"
    rm -f "$MODEL_FOLDER"/*.orig
    publish_change "Learn faster"
    reconcile
    expect_named v2
    table_of_last_run

    say "Every version, and how v2 came about"
    run modelpack list mpg --repo "$ORIGIN"
    run modelpack lineage "$IMAGE:v2" --repo "$ORIGIN" --gate "$URL" --html "$EXAMPLE/lineage.html"
    printf '\n%s\n' "Done in $SECONDS s. The chain as a page: $EXAMPLE/lineage.html"
    if [ -n "$KEEP" ]; then printf 'The gate stays up: %s (stop it with: kill %s)\n' "$URL" "$GATE"; fi
}
