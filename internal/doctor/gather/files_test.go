package gather

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestReferences: each kind of reference that kubelet refuses.
func TestReferences(t *testing.T) {
	for field, want := range map[string]string{
		"serviceAccountName: a": "the ServiceAccount a", "serviceAccount: a": "the ServiceAccount a", "imagePullSecrets: [{name: s}]": "the Secret s (imagePullSecrets)",
		"containers: [{name: c, envFrom: [{secretRef: {name: s}}]}]":                                 "a Secret (envFrom of c)",
		"initContainers: [{name: c, envFrom: [{configMapRef: {name: s}}]}]":                          "a ConfigMap (envFrom of c)",
		"containers: [{name: c, env: [{name: e, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]":    "a Secret (e of c)",
		"containers: [{name: c, env: [{name: e, valueFrom: {configMapKeyRef: {name: s, key: k}}}]}]": "a ConfigMap (e of c)",
		"resourceClaims: [{name: r}]":                                                    "a ResourceClaim",
		"volumes: [{name: v, secret: {secretName: s}}]":                                  "a Secret (volume v)",
		"volumes: [{name: v, configMap: {name: s}}]":                                     "a ConfigMap (volume v)",
		"volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]":                    "a PersistentVolumeClaim (volume v)",
		"volumes: [{name: v, csi: {driver: d}}]":                                         "a CSI driver (volume v)",
		"volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: p}}]}}]": "a ServiceAccount token (volume v)",
		"volumes: [{name: v, projected: {sources: [{downwardAPI: {}}]}}, {name: w, emptyDir: {}}, {name: h, hostPath: {path: /}}]": "",
	} {
		var pod corev1.Pod
		must(t, yaml.UnmarshalStrict([]byte("spec: {"+field+"}"), &pod))
		if d := cmp.Diff(want, strings.Join(references(pod), ", ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", field, d)
		}
	}
}
