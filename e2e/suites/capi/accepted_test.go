package capi_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestFull: the API server and Cluster API's own webhooks accept a KubeadmControlPlane from vipd as
// it is.
func TestFull(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			ns := newNamespace(t)
			o := inNamespace(t, kcp(t, "full", api, "--namespace", ns, "--dns-name", dnsName), ns)
			if err := management.Client.Create(t.Context(), o, client.DryRunAll, strict); err != nil {
				t.Fatal(err)
			}
			checkKCP(t, o, vip, dnsName)
		})
	}
}

// TestRefused: unknown fields are refused, so the acceptance in the other tests is meaningful.
func TestRefused(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			ns := newNamespace(t)
			o := inNamespace(t, strings.Replace(kcp(t, "full", api), "permissions:", "permission:", 1), ns)
			err := management.Client.Create(t.Context(), o, client.DryRunAll, strict)
			if err == nil || !strings.Contains(err.Error(), `unknown field "spec.kubeadmConfigSpec.files[0].permission"`) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestFiles: the same for parts that are pasted into the smallest KubeadmControlPlane.
func TestFiles(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			o := testdata(t, "kcp-minimal-"+api+".yaml", newNamespace(t))[0]
			spec := o.Object["spec"].(object)
			spec["kubeadmConfigSpec"] = parse[object](t, kcp(t, "files", api, "--dns-name", dnsName))
			if err := management.Client.Create(t.Context(), o, client.DryRunAll, strict); err != nil {
				t.Fatal(err)
			}
			checkKCP(t, o, vip, dnsName)
		})
	}
}

// patch is a JSON patch as kubectl sends it.
func patch(t *testing.T, text string) client.Patch {
	t.Helper()
	json, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return client.RawPatch(types.JSONPatchType, json)
}

// TestPatch patches a KubeadmControlPlane from CAPV's template. Its former content stays.
func TestPatch(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			o := testdata(t, "kcp-capv-"+api+".yaml", newNamespace(t))[0]
			create(t, o)
			if err := management.Client.Patch(t.Context(), o, patch(t, kcp(t, "patch", api)), strict); err != nil {
				t.Fatal(err)
			}
			checkKCP(t, o)
			if motd := file(t, o, "/etc/motd"); motd["content"] != "hello\n" {
				t.Errorf("/etc/motd = %v", motd)
			}
		})
	}
}

// TestPatchNames: names are added to a KubeadmControlPlane without names. One with names is refused
// and stays unchanged, because a JSON patch would remove them.
func TestPatchNames(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			o := testdata(t, "kcp-capv-"+api+".yaml", newNamespace(t))[0]
			create(t, o)
			names := patch(t, kcp(t, "patch", api, "--dns-name", dnsName))
			if err := management.Client.Patch(t.Context(), o, names, strict); err != nil {
				t.Fatal(err)
			}
			checkKCP(t, o, vip, dnsName)

			before := o.GetResourceVersion()
			if err := management.Client.Patch(t.Context(), o, names, strict); err == nil {
				t.Error("names that were there are replaced")
			}
			if after := get(t, o.GetNamespace(), o.GetName()).GetResourceVersion(); after != before {
				t.Error("a patch that failed changed it")
			}
		})
	}
}

// TestFilesIsAtomic shows why there is no output for server-side apply: it would remove all other
// files.
func TestFilesIsAtomic(t *testing.T) {
	for _, api := range apis {
		t.Run(api, func(t *testing.T) {
			o := testdata(t, "kcp-capv-"+api+".yaml", newNamespace(t))[0]
			create(t, o)
			applied := &unstructured.Unstructured{Object: object{
				"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(),
				"metadata": object{"name": o.GetName(), "namespace": o.GetNamespace()},
				"spec":     object{"kubeadmConfigSpec": parse[object](t, kcp(t, "files", api))},
			}}
			err := management.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied),
				client.FieldOwner("test"), client.ForceOwnership)
			if err != nil {
				t.Fatal(err)
			}
			files, _, err := unstructured.NestedSlice(applied.Object, "spec", "kubeadmConfigSpec", "files")
			if err != nil || len(files) != 1 {
				t.Errorf("%d files, %v: if other files stay, `--as apply` would be simpler than a patch", len(files), err)
			}
		})
	}
}
