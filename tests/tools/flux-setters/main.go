// flux-setters writes a policy's newest image into marked YAML files by the library that Flux's image automation is
// built on: kyaml's setters, with "$imagepolicy" as their mark. Usage:
//
//	flux-setters NAMESPACE:NAME=REPOSITORY:TAG[@DIGEST] FILE...
//
// Files that have no mark of the policy stay as they are, byte for byte; the names of those that changed are printed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/fieldmeta"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/setters2"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const mark = "$imagepolicy"

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: flux-setters NAMESPACE:NAME=IMAGE FILE..."))
	}
	policy, image, found := strings.Cut(os.Args[1], "=")
	if !found {
		fail(fmt.Errorf("%s is not NAMESPACE:NAME=IMAGE", os.Args[1]))
	}
	fieldmeta.SetShortHandRef(mark)
	openapi.SuppressBuiltInSchemaUse() // only what a comment names is set, whatever the object's kind is
	for _, path := range os.Args[2:] {
		changed, err := apply(path, schema(policy, image))
		if err != nil {
			fail(fmt.Errorf("%s: %w", path, err))
		}
		if changed {
			fmt.Println(path)
		}
	}
}

// schema has the four setters of a policy: the whole image, and its name, tag and digest apart.
func schema(policy, image string) *spec.Schema {
	tagged, digest, _ := strings.Cut(image, "@")
	colon := strings.LastIndex(tagged, ":")
	values := map[string]string{
		policy:             image,
		policy + ":name":   tagged[:colon],
		policy + ":tag":    tagged[colon+1:],
		policy + ":digest": digest,
	}
	definitions := spec.Definitions{}
	for name, value := range values {
		one := spec.StringProperty()
		setter := map[string]string{"name": name, "value": value}
		one.VendorExtensible.AddExtension(setters2.K8sCliExtensionKey, map[string]interface{}{"setter": setter})
		definitions[fieldmeta.SetterDefinitionPrefix+name] = *one
	}
	return &spec.Schema{SchemaProps: spec.SchemaProps{Definitions: definitions}}
}

func apply(path string, setters *spec.Schema) (bool, error) {
	before, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(before, []byte(`"`+mark+`"`)) {
		return false, err
	}
	nodes, err := (&kio.ByteReader{Reader: bytes.NewReader(before)}).Read()
	if err != nil {
		return false, err
	}
	values := text(nodes)
	for _, node := range nodes {
		if _, err := (&setters2.Set{SetAll: true, SettersSchema: setters}).Filter(node); err != nil {
			return false, err
		}
	}
	if text(nodes) == values {
		return false, nil
	}
	var after bytes.Buffer
	if err := (kio.ByteWriter{Writer: &after}).Write(nodes); err != nil {
		return false, err
	}
	return true, os.WriteFile(path, after.Bytes(), 0o644)
}

func text(nodes []*yaml.RNode) string {
	var all strings.Builder
	for _, node := range nodes {
		all.WriteString(node.MustString())
	}
	return all.String()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "flux-setters:", err)
	os.Exit(1)
}
