# shellcheck shell=bash
# `./start.sh --cluster` and `./start.sh --down`. start.sh reads this file, and defines what is called here and not defined here.
# Whatever is put into the cluster is written down before, in the ConfigMap modelpack-start, and --down goes by that.

usage_cluster() {
    cat <<'USAGE'
usage: ./start.sh --cluster --registry PREFIX [--context NAME] [--ingress URL] [--plain] [--base BASE]
                  [--modelpack-image REF] [--server-image REF] [--yes] [--keep]
       ./start.sh --down [--context NAME] [--yes]

Rolls out the example's four versions on a Kubernetes cluster, by Flagger and the gate. Says what is there and what is
missing, asks, and installs only what is missing. Where there is no kube context, it makes a cluster by kind or k3d.

  --registry PREFIX      where images are pushed to and the cluster pulls from, such as ghcr.io/NAME
  --context NAME         the kubeconfig's context, if not the current one
  --ingress URL          Contour's Envoy as pods see it, if it can't be found
  --plain                no router: blue/green with Services alone
  --base BASE            what the model containers stand on, see modelpack build --help (host-busybox)
  --modelpack-image REF  the gate's image, instead of building it and pushing it to PREFIX/modelpack
  --server-image REF     the example server's image, instead of PREFIX/mpg-server
  --yes                  do not ask
  --keep                 leave the page up until Ctrl-C
  --down                 remove all that --cluster put there, and nothing else

Exit codes: 0 every version ended as it should, 1 something failed, 2 something has to be given first, 130 interrupted.
USAGE
}

CONTEXT='' REGISTRY='' INGRESS='' PLAIN='' BASE=host-busybox MODELPACK_IMAGE='' SERVER_IMAGE='' YES='' DOWN=''
RATE=60      # requests per second
PATIENCE=300 # seconds: for pods to get ready, for a rollout to end
MADE=var/cluster.made # says by what a cluster was made here
BESIDE=localhost:5001 # its registry
OVERLAYS=$EXAMPLE/overlays
LOG=$EXAMPLE/kubectl.log
unset MODELPACK_VIA # the registry is a real one here

refuse() { printf 'start.sh: %s\n' "$*" >&2; exit 2; }
kube() { kubectl "--context=$CONTEXT" "$@" </dev/null; }

read_words() {
    local word
    while [ $# -gt 0 ]; do
        word=$1
        shift
        case $word in
            --cluster) ;;
            --down) DOWN=yes ;;
            --plain) PLAIN=yes ;;
            --yes) YES=yes ;;
            --keep) KEEP=yes ;;
            -h | --help) usage_cluster; exit 0 ;;
            --context | --registry | --ingress | --base | --modelpack-image | --server-image)
                [ -n "${1:-}" ] || refuse "$word needs a value"
                word=${word#--} word=${word//-/_}
                printf -v "${word^^}" %s "${1%/}"
                shift
                ;;
            *) echo "start.sh: unknown word $word" >&2; usage_cluster >&2; exit 2 ;;
        esac
    done
}

# --- looking ---------------------------------------------------------------------------------------------------------
row() { printf '  %-13s %-38s %s\n' "$@"; }

find_context() { # sets CONTEXT; where there is none, MAKER
    MAKER=''
    command -v kubectl >/dev/null || refuse "kubectl is needed: https://kubernetes.io/docs/tasks/tools/"
    CONTEXT=${CONTEXT:-$(kubectl config current-context 2>/dev/null || true)}
    [ -z "$CONTEXT" ] || return 0
    for MAKER in kind k3d ''; do
        if [ -z "$MAKER" ] || command -v "$MAKER" >/dev/null; then break; fi
    done
}

reach() { # sets VERSION
    VERSION=$(kube version --request-timeout=10s 2>/dev/null | sed -n 's/^Server Version: *//p') || true
    [ -n "$VERSION" ] || die "the cluster of context $CONTEXT does not answer; look: kubectl --context=$CONTEXT version"
}

exists() { # KIND NAMESPACE|- NAME
    local said
    said=$(kube get "$1" "$3" --namespace="${2/#-/default}" --ignore-not-found --output=name 2>&1) || case $said in
        *"doesn't have a resource type"* | *"no matches for kind"*) return 1 ;;
        *) die "$said" ;;
    esac
    [ -n "$said" ]
}

recorded() { kube get configmap modelpack-start --namespace=default --ignore-not-found --output='jsonpath={.data.objects}'; }
on_record() { grep -qxF "$*" <<<"$PUT"; } # KIND NAMESPACE|- NAME

part() { # PART KIND NAMESPACE|- NAME: a row about it; what is missing, or is from here, is added to PARTS
    local there=missing todo=install
    if exists "${@:2}"; then
        there=$3/$4 todo=""
        if on_record "${@:2}"; then todo="from here: brought up to date"; fi
    fi
    if [ -n "$todo" ]; then PARTS="$PARTS $1"; fi
    row "$1" "${there#-/}" "${todo:-stays as it is}"
}

look_for_router() { # sets ROUTER and INGRESS
    local kinds kind
    kinds=$(kube get crd --output=name)
    ROUTER=none
    case $PLAIN$kinds in
        yes*) row router "not asked for" "blue/green; v4 shows only under a router" ;;
        *httpproxies.projectcontour.io*)
            ROUTER=contour
            INGRESS=${INGRESS:-$(kube get services -A --output=jsonpath='{range .items[*]}{.metadata.name} {.metadata.namespace}{"\n"}{end}' |
                awk '$1 ~ /(^|-)envoy$/ { print "http://" $1 "." $2; exit }')}
            [ -n "$INGRESS" ] || refuse "Contour is there, but no Service called envoy: give --ingress URL, or --plain"
            row router "Contour, $INGRESS" "traffic by weight"
            ;;
        *)
            row router missing "blue/green; v4 shows only under a router"
            for kind in virtualservices.networking.istio.io httproutes.gateway.networking.k8s.io; do
                case $kinds in *"$kind"*) row "" "${kind#*.}" "yours to try: flagger/README.md" ;; esac
            done
            ;;
    esac
    [ "$ROUTER" = contour ] || INGRESS=http://mpg.default:8080
}

look_for_flagger() { # sets FLAGGER, its namespace
    local found
    found=$(kube get deployments -A --output=jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name} {.metadata.labels.app\.kubernetes\.io/name}{"\n"}{end}' |
        awk '$2 == "flagger" || $3 == "flagger" { print $1, $2; exit }')
    found=${found:-flagger-system flagger}
    FLAGGER=${found% *}
    part definitions CustomResourceDefinition.v1.apiextensions.k8s.io - canaries.flagger.app
    part flagger Deployment.v1.apps "$FLAGGER" "${found#* }"
}

look_for_images() { # sets BUILDER
    local tool
    BUILDER=''
    for tool in docker podman buildah; do
        if command -v "$tool" >/dev/null; then BUILDER=$tool; break; fi
    done
    case $PARTS in *gate*) image_row gate modelpack "$MODELPACK_IMAGE" ;; esac
    image_row server mpg-server "$SERVER_IMAGE"
}

image_row() { # gate|server REPOSITORY REF
    if [ -n "$3" ]; then row "$1 image" "$3" "stays as it is"; return; fi
    [ -n "$BUILDER" ] || refuse "the $1's image has to be built: install docker, podman or buildah, or give --${2/mpg-/}-image REF"
    row "$1 image" missing "built by $BUILDER, pushed to $REGISTRY/$2"
}

look() { # prints what is there, sets PARTS to what has to be put there
    PARTS=''
    row "" there "to do"
    row cluster "$CONTEXT, Kubernetes $VERSION" ""
    kube auth can-i create clusterroles >/dev/null 2>&1 || die "context $CONTEXT may not create ClusterRoles, as an install has to"
    look_for_router
    look_for_flagger
    part gate Deployment.v1.apps modelpack modelpack-gate
    part prometheus Deployment.v1.apps modelpack prometheus
    VOLUME=$(kube get storageclass --output=jsonpath='{.items[*].metadata.annotations.storageclass\.kubernetes\.io/is-default-class}')
    case $PARTS/$VOLUME in
        *gate*/*true*) ;;
        *gate*) row "" "no default StorageClass" "the gate's evidence ends with its pod" ;;
    esac
    look_for_images
    if ! exists Deployment.v1.apps default mpg; then
        row example missing "v1 to v4, one after the other, in default"
    elif on_record Deployment.v1.apps default mpg; then
        row example "default/mpg" "from here: starts over"
    else
        die "Deployment default/mpg is there and not from here; the example would overwrite it"
    fi
}

ask() {
    [ -z "$YES" ] || return 0
    [ -t 0 ] || refuse "nobody is there to be asked: look at the table and add --yes"
    local answer
    read -r -p "Go on? [y/N] " answer
    case $answer in y | Y | yes) ;; *) echo "nothing was changed"; exit 0 ;; esac
}

# --- a cluster of our own --------------------------------------------------------------------------------------------
make_cluster() {
    local node
    [ -n "$MAKER" ] || refuse "there is no kube context: name one by --context or KUBECONFIG, or install kind or k3d to have a cluster made"
    command -v docker >/dev/null || refuse "$MAKER needs docker"
    row "" there "to do"
    row cluster missing "made by $MAKER, called modelpack, with a registry at $BESIDE"
    row "in it" missing "Flagger, Prometheus, the gate, the example; no router, so blue/green"
    ask
    YES=yes
    echo "$MAKER" >"$MADE"
    say "Making a cluster by $MAKER"
    if [ "$MAKER" = k3d ]; then
        printf 'mirrors:\n  "%s":\n    endpoint: ["http://modelpack-registry:5000"]\n' "$BESIDE" >"$EXAMPLE/registries.yaml"
        run k3d cluster create modelpack --registry-create "modelpack-registry:127.0.0.1:${BESIDE#*:}" --registry-config "$EXAMPLE/registries.yaml"
    else # as kind's guide to local registries has it
        run docker run -d --restart=always -p "127.0.0.1:${BESIDE#*:}:5000" --name modelpack-registry docker.io/library/registry:3
        run kind create cluster --name modelpack
        docker network connect kind modelpack-registry
        for node in $(kind get nodes --name modelpack); do
            docker exec "$node" mkdir -p "/etc/containerd/certs.d/$BESIDE"
            docker exec -i "$node" cp /dev/stdin "/etc/containerd/certs.d/$BESIDE/hosts.toml" <<<'[host."http://modelpack-registry:5000"]'
        done
    fi
    CONTEXT=$MAKER-modelpack
}

unmake_cluster() { # the one that was made here, if there is one; all in it goes with it
    [ -f "$MADE" ] || return 1
    MAKER=$(<"$MADE")
    [ "${CONTEXT:-$MAKER-modelpack}" = "$MAKER-modelpack" ] || return 1
    say "Removing the cluster that $MAKER made"
    if [ "$MAKER" = k3d ]; then
        run k3d cluster delete modelpack
    else
        run kind delete cluster --name modelpack
        docker rm -f modelpack-registry >/dev/null
    fi
    rm -f "$MADE"
}

# --- putting and removing ---------------------------------------------------------------------------------------------
# Kustomize's YAML on standard input: a file an object into FOLDER; prints KIND.VERSION.GROUP NAMESPACE|- NAME FILE of each.
split() { # FOLDER
    awk -v folder="$1" '
        function flush() { if (kind) print kind "." version "." group, (namespace ? namespace : "-"), name, file; close(file) }
        function begin() { file = sprintf("%s/%03d.yaml", folder, ++count); kind = namespace = name = section = "" }
        BEGIN { begin() }
        /^---$/ { flush(); begin(); next }
        { print > file }
        /^[^ ]/ { section = $1 }
        /^apiVersion: / { parts = split($2, at, "/"); version = at[parts]; group = parts > 1 ? at[1] : "" }
        /^kind: / { kind = $2 }
        section == "metadata:" && /^  name: / { name = $2 }
        section == "metadata:" && /^  namespace: / { namespace = $2 }
        END { flush() }'
}

put() { # KUSTOMIZATION: apply it, but for what was there before; waits for nothing
    local folder=$EXAMPLE/put kind namespace name file new=''
    rm -rf "$folder"
    mkdir -p "$folder"
    run kubectl kustomize "$1" >"$folder.yaml" || die "kubectl kustomize $1 failed"
    split "$folder" <"$folder.yaml" >"$folder.list"
    PUT=$(recorded)
    while read -r kind namespace name file; do
        if on_record "$kind" "$namespace" "$name"; then continue; fi
        if exists "$kind" "$namespace" "$name"; then
            echo "  $kind $name was there before: it stays as it is"
            rm "$file"
        else
            new+="$kind $namespace $name"$'\n'
        fi
    done <"$folder.list"
    if [ -n "$new" ]; then
        PUT="${PUT:+$PUT$'\n'}${new%$'\n'}"
        kubectl create configmap modelpack-start --namespace=default --from-literal="objects=$PUT" --dry-run=client --output=yaml >"$folder.record"
        kube apply --server-side --force-conflicts --field-manager=start.sh -f "$folder.record" >>"$LOG" 2>&1 || die "$(tail -n 3 "$LOG")"
    fi
    run kubectl "--context=$CONTEXT" apply --server-side --force-conflicts --field-manager=start.sh -f "$folder" \
        >>"$LOG" 2>&1 || die "kubectl apply failed: $(tail -n 3 "$LOG")"
}

take_away() { # PATTERN: what is on record and matches, the newest first, until it is gone
    local line kind namespace name left
    while read -r line; do
        read -r kind namespace name <<<"$line"
        if [ -z "$name" ] || ! exists "$kind" "$namespace" "$name"; then continue; fi
        namespace=${namespace#-}
        if [ "$kind" = Namespace.v1. ]; then
            left=$(kube get deployments,statefulsets,daemonsets,jobs,pods,services,secrets,configmaps,persistentvolumeclaims \
                --namespace="$name" --output=name | grep -v -- '-root-ca\|/kube-root-ca' || true)
            if [ -n "$left" ]; then
                echo "  Namespace $name stays: others put ${left//$'\n'/, } there"
                continue
            fi
        fi
        echo "  ${kind%%.*} ${namespace:+$namespace/}$name"
        run kubectl "--context=$CONTEXT" delete "$kind" "$name" --namespace="${namespace:-default}" --ignore-not-found \
            --cascade=foreground --timeout="${PATIENCE}s" >>"$LOG" 2>&1 ||
            die "${kind%%.*} $name does not go away; look: kubectl describe ${kind%%.*} $name --namespace=${namespace:-default}"
    done < <(awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' <<<"$PUT" | grep -E -- "$1")
}

down() {
    local others
    PUT=$(recorded)
    if [ -z "$PUT" ]; then echo "nothing of this script is in context $CONTEXT"; return; fi
    say "What --cluster put into context $CONTEXT, to be removed:"
    if grep -Eq '(^Deployment.* flagger| canaries.flagger.app)$' <<<"$PUT" && exists CustomResourceDefinition.v1.apiextensions.k8s.io - canaries.flagger.app; then
        others=$(kube get canaries.flagger.app -A --output=jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.name} {end}')
        others=" $others"
        others=${others/ default\/mpg / }
        [ "$others" = " " ] || die "the Flagger that goes is needed by Canaries of others: delete${others% } first"
    fi
    awk '{ sub(/[.].*/, "", $1); print "  " $1, ($2 == "-" ? "" : $2 "/") $3 }' <<<"$PUT"
    ask
    take_away .
    kube delete configmap modelpack-start --namespace=default --ignore-not-found >>"$LOG"
    say "Gone"
}

# --- the job ---------------------------------------------------------------------------------------------------------
read_words "$@"
mkdir -p "$EXAMPLE"
find_context
if [ -n "$DOWN" ]; then
    if unmake_cluster; then exit 0; fi
    [ -n "$CONTEXT" ] || refuse "there is no kube context: name one by --context or KUBECONFIG"
    reach
    down
    exit 0
fi
if [ -z "$CONTEXT" ]; then make_cluster; fi
if [ -f "$MADE" ] && [ "$CONTEXT" = "$(<"$MADE")-modelpack" ]; then REGISTRY=${REGISTRY:-$BESIDE}; fi
case $REGISTRY in *://*) refuse "--registry is a prefix of image names like ghcr.io/NAME, without ${REGISTRY%%://*}://" ;; esac
[ -n "$REGISTRY" ] || refuse "give --registry PREFIX, where images can be pushed to and the cluster can pull from"
reach
PUT=$(recorded)
look
ask
. manifests/rollouts.sh
