# shellcheck shell=bash
# The second half of manifests/cluster.sh: the images, what is missing, and the example's four rollouts.

NAMED=$IMAGE # in the example's files
IMAGE=$REGISTRY/models/mpg
TIP=$EXAMPLE/tip # what a GitOps agent has checked out
URL=''

# --- images ----------------------------------------------------------------------------------------------------------
build_image() { # REPOSITORY DOCKERFILE CONTEXT: builds, pushes, sets BUILT
    local push=("$BUILDER" push) build=("$BUILDER" build) host=${REGISTRY%%/*}
    BUILT=$REGISTRY/$1:start-$(date -u +%Y%m%d-%H%M%S) # a new name each time: nodes keep what they have by name
    say "Building $BUILT"
    if [ "$BUILDER" != docker ]; then
        if [ -f "$2.dockerignore" ]; then build+=("--ignorefile=$2.dockerignore"); fi
        case ",${MODELPACK_INSECURE_REGISTRIES:-},$BESIDE," in *",$host,"*) push+=(--tls-verify=false) ;; esac
    fi
    run "${build[@]}" -q -f "$2" -t "$BUILT" "$3" || die "$BUILDER could not build $2"
    run "${push[@]}" -q "$BUILT" || die "$BUILDER could not push $BUILT; is it logged in there?"
}

make_images() {
    case $PARTS/$MODELPACK_IMAGE in *gate*/) build_image modelpack manifests/gate/Dockerfile . && MODELPACK_IMAGE=$BUILT ;; esac
    if [ -z "$SERVER_IMAGE" ]; then
        build_image mpg-server model-images/mpg/Dockerfile model-images/mpg
        SERVER_IMAGE=$BUILT
    fi
}

# --- what is missing -------------------------------------------------------------------------------------------------
overlay() { # NAME RESOURCE: a kustomization of it; more of its lines come on standard input
    mkdir -p "$OVERLAYS/$1"
    { printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- %s\n' "$2"; cat; } >"$OVERLAYS/$1/kustomization.yaml"
}

write_gate() {
    overlay gate ../../../../manifests/gate <<YAML
patches:
- target: {kind: Deployment, name: modelpack-gate}
  patch: |
    - {op: replace, path: /spec/template/spec/containers/0/image, value: "$MODELPACK_IMAGE"}
- target: {kind: NetworkPolicy, name: modelpack-gate}
  patch: |
    - {op: add, path: /spec/ingress/0/from/-, value: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $FLAGGER}}}}
YAML
    case $VOLUME in *true*) return ;; esac
    cat >>"$OVERLAYS/gate/kustomization.yaml" <<'YAML'
- target: {kind: Deployment, name: modelpack-gate}
  patch: |
    - {op: test, path: /spec/template/spec/volumes/0/name, value: state}
    - {op: replace, path: /spec/template/spec/volumes/0, value: {name: state, emptyDir: {}}}
- target: {kind: PersistentVolumeClaim, name: modelpack-gate}
  patch: |
    {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: modelpack-gate}, $patch: delete}
YAML
}

available() { # NAMESPACE DEPLOYMENT
    run kubectl "--context=$CONTEXT" wait deployment "$2" --namespace="$1" --for=condition=Available --timeout="${PATIENCE}s" \
        >>"$LOG" 2>&1 || die "$1/$2 is not ready after $PATIENCE s; look: kubectl --context=$CONTEXT describe pods --namespace=$1"
}

install_parts() {
    local part provider=base
    if [ "$ROUTER" = contour ]; then provider=.; fi
    for part in $PARTS; do
        say "Installing: $part"
        case $part in
            definitions) overlay "$part" ../../../../flagger/install/crds </dev/null ;;
            flagger) overlay "$part" "../../../../flagger/install/$provider" </dev/null ;;
            gate) write_gate ;;
            prometheus) overlay "$part" ../../../../manifests/prometheus </dev/null ;;
        esac
        put "$OVERLAYS/$part"
        if [ "$part" = definitions ]; then
            run kubectl "--context=$CONTEXT" wait crd canaries.flagger.app --for=condition=Established --timeout=60s >>"$LOG"
        fi
    done
    case $PARTS in *flagger*) available flagger-system flagger ;; esac
    available modelpack modelpack-gate
    available modelpack prometheus
}

forward() { # sets URL, the gate's page
    if [ -n "$GATE" ] && kill -0 "$GATE" 2>/dev/null; then return; fi
    local port=${URL##*:}
    kubectl "--context=$CONTEXT" port-forward --namespace=modelpack service/modelpack-gate "$port:80" >"$EXAMPLE/forward.log" 2>&1 </dev/null 9>&- &
    GATE=$!
    for _ in $(seq 100); do
        URL=$(sed -n 's|^Forwarding from \(127.0.0.1:[0-9]*\) .*|http://\1|p' "$EXAMPLE/forward.log")
        if [ -n "$URL" ]; then return; fi
        kill -0 "$GATE" 2>/dev/null || break
        sleep 0.2
    done
    die "the gate's page can't be reached; look: kubectl --context=$CONTEXT port-forward --namespace=modelpack service/modelpack-gate 8080:80"
}

open_page() {
    say "Live page: $URL"
    if [ "$(uname)" = Darwin ]; then
        open "$URL" || true
    elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
        xdg-open "$URL" >/dev/null 2>&1 </dev/null 9>&- &
    fi
}

# --- the example -----------------------------------------------------------------------------------------------------
adapt() { # the checkout to this registry and router
    cp -R flagger/variants "$CHECKOUT/flagger/"
    sed -i "s|$NAMED\b|$IMAGE|; s|image: registry.local/servers/mpg:v1|image: $SERVER_IMAGE|" "$CHECKOUT/manifests/mpg/deployment.yaml"
    sed -i "s|$NAMED\b|$IMAGE|; s|^base: .*|base: $BASE|" "$CHECKOUT/model-images/mpg/model.yaml"
    if [ "$ROUTER" = contour ]; then
        cat <<'YAML'
patches:
- target: {kind: Canary}
  patch: |
    - {op: add, path: /spec/provider, value: contour}
YAML
    else # as flagger/README.md says: Services split nothing, so there is nothing to compare
        printf 'components:\n- ../variants/kubernetes\n'
        sed -i '/^- route.yaml/d' "$CHECKOUT/manifests/mpg/kustomization.yaml"
        sed -i '/^- name: errors/,$d' "$CHECKOUT/model-images/mpg/gate.yaml"
    fi >>"$CHECKOUT/flagger/mpg/kustomization.yaml"
}

apply_tip() { # what a GitOps agent does after each commit
    rm -rf "$TIP"
    mkdir "$TIP"
    git --git-dir="$ORIGIN" archive main | tar -xC "$TIP"
    put "$TIP/manifests/mpg"
}

start_traffic() {
    # shellcheck disable=SC2153 # RATE is cluster.sh's
    say "Traffic: $RATE requests a second to $INGRESS, by a Job in the cluster"
    overlay traffic job.yaml <<'YAML'
configMapGenerator:
- {name: mpg-traffic, namespace: default, files: [load.py, traffic.jsonl], options: {disableNameSuffixHash: true}}
YAML
    cp model-images/mpg/load.py model-images/mpg/traffic.jsonl "$OVERLAYS/traffic/"
    cat >"$OVERLAYS/traffic/job.yaml" <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: mpg-traffic, namespace: default}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 7200
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 5
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: load
        image: "$SERVER_IMAGE"
        command: [python3, /load/load.py, /load/traffic.jsonl, "$RATE"]
        env:
        - {name: INGRESS, value: "$INGRESS"}
        - {name: HOST, value: mpg.example.com}
        volumeMounts:
        - {name: load, mountPath: /load, readOnly: true}
        resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 128Mi}}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumes:
      - name: load
        configMap: {name: mpg-traffic}
YAML
    put "$OVERLAYS/traffic"
}

# follow.py VERSION PHASE SECONDS COMMAND...: a line for each change of what `modelpack status --watch --json` says, until the
# rollout of VERSION is over; ends with 0 in PHASE, 7 in another, 8 if it failed without the gate, 1 if it took too long
FOLLOW=$(
    cat <<'PYTHON'
import json, signal, subprocess, sys, threading, time

version, wanted, seconds, *command = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
timer = threading.Timer(float(seconds), process.terminate)
timer.daemon = True
timer.start()
last, ran, code = None, wanted == "Initialized", 1
about = None  # the gate's rollout; an earlier run may have left another of the same version
try:
    for line in process.stdout:
        view = json.loads(line)
        if "phase" not in view:
            continue
        gate, phase = view["gate"] or {}, view["phase"]
        ran = ran or (view["canary"] or {}).get("version") == version
        if ran and gate.get("version") == version and gate["state"] == "active":
            about = gate["rollout"]
        judged = about is not None and gate.get("rollout") == about
        shown = f"{phase or 'no phase yet'}, {view['weight']} % to the canary"
        if judged:
            shown += f"; the gate: {gate['verdict']}"
        if "error" in gate:
            shown += f"; the gate cannot be asked: {gate['error']}"
        if shown != last and (ran or wanted == "Initialized"):
            print(f"  {time.strftime('%H:%M:%S')}  {shown}", flush=True)
            last = shown
        if ran and phase in ("Initialized", "Succeeded", "Failed"):
            if judged:
                print("            " + gate["reason"].replace("; ", "\n            "), flush=True)
            code = 7 if phase != wanted else 8 if phase == "Failed" and not judged else 0
            break
finally:
    timer.cancel()
    process.terminate()
    process.wait()
sys.exit(code)
PYTHON
)

roll() { # VERSION PHASE WORDS...: commit it, apply it, insist on how it ends
    local version=$1 phase=$2 code=0
    say "$version: ${*:3}"
    run modelpack bump "$IMAGE:$version" --repo "$ORIGIN" --branch main
    apply_tip
    run python -c "$FOLLOW" "$version" "$phase" "$PATIENCE" \
        modelpack status default/mpg --context "$CONTEXT" --repo "$ORIGIN" --watch --json || code=$?
    if [ "$code" != 0 ]; then
        modelpack status default/mpg --context "$CONTEXT" --repo "$ORIGIN" || true
        kube get pods --namespace=default || true # an image that can't be pulled shows here
    fi
    case $code in
        0) ;;
        7) die "$version should have ended in phase $phase" ;;
        8) die "$version failed before the gate judged it; look: kubectl --context=$CONTEXT describe pods --selector=app=mpg" ;;
        *) die "$version was not $phase after $PATIENCE s; look: kubectl --context=$CONTEXT logs --namespace=$FLAGGER deployment/flagger" ;;
    esac
    if [ "$phase" = Failed ]; then settle; fi
}

settle() { # what the Deployment modelpack-settle does where Git can be reached from the cluster
    local before said
    before=$(git --git-dir="$ORIGIN" rev-parse main)
    for _ in $(seq 30); do
        forward
        said=$(modelpack settle --gate "$URL" --repo "$ORIGIN" --branch main 2>&1) || true # the gate may know of others' failures
        if [ "$(git --git-dir="$ORIGIN" rev-parse main)" != "$before" ]; then
            printf '%s\n' "$said"
            apply_tip
            return
        fi
        sleep 2
    done
    die "Git was not reverted; modelpack settle says: $said"
}

end_report() {
    say "Done in $SECONDS s"
    forward
    python - "$URL" "$IMAGE" <<'PYTHON'
import json, sys, urllib.request

url, image = sys.argv[1:]
with urllib.request.urlopen(f"{url}/api/v1/rollouts?model=mpg", timeout=30) as answer:
    found = json.load(answer)["rollouts"]
print("\n  v1  initialized: the first version")
for version in ("v2", "v3", "v4"):
    each = next((one for one in found if one["image"].startswith(f"{image}:{version}@")), None)
    if each:
        print(f"\n  {version}  {each['state']}\n      " + each["reason"].replace("; ", "\n      "))
PYTHON
    printf '\nGit (%s), the newest first:\n' "$ORIGIN"
    git --no-pager --git-dir="$ORIGIN" log --format='  %h %s'
    printf '\nServing: %s\n' "$(kube get deployment mpg-primary --namespace=default --output='jsonpath={.spec.template.spec.initContainers[0].image}')"
    printf '\nTraffic: %s\n' "$(kube logs job/mpg-traffic --namespace=default --tail=1)"
    printf '\nThe page again:  kubectl --context=%s port-forward --namespace=modelpack service/modelpack-gate 8080:80\n' "$CONTEXT"
    printf 'A look:          .venv/bin/modelpack status default/mpg --context %s --repo %s\n' "$CONTEXT" "$ORIGIN"
    printf 'Remove all:      ./start.sh --down --context %s\n' "$CONTEXT"
}

# --- the job ---------------------------------------------------------------------------------------------------------
install cluster cluster
if on_record Deployment.v1.apps default mpg; then
    say "Removing the earlier run's example"
    take_away ' default '
fi
rm -rf "${EXAMPLE:?}"
mkdir -p "$EXAMPLE"
make_images
install_parts
forward
open_page
make_repository adapt

say "Training v1 to v4"
run python "$CHECKOUT/model-images/mpg/train.py" v1 v2 v3 v4
say "Packaging each as a model container, pushed to $IMAGE"
for version in v1 v2 v3 v4; do
    run modelpack build "$CHECKOUT/model-images/mpg" --version "$version" --push
done

roll v1 Initialized "the first version, nothing to compare it with"
start_traffic
roll v2 Succeeded "better, to be promoted"
roll v3 Failed "trained on the wrong unit, to be stopped by the golden set"
if [ "$ROUTER" = contour ]; then
    roll v4 Failed "fails for a fifth of the traffic, to be stopped under traffic"
fi
end_report
take_away '^Job\.'
if [ -n "$KEEP" ]; then
    printf '\nThe page stays up until Ctrl-C: %s\n' "$URL"
    wait "$GATE"
fi
