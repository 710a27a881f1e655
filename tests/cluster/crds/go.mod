// Modules whose CustomResourceDefinitions the tests apply; no program is built from them.
module modelpack.dev/tests/cluster/crds

go 1.24

require (
	istio.io/api v1.31.1
	sigs.k8s.io/gateway-api v1.3.0
)
