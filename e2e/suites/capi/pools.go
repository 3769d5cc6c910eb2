package capi

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// installPools installs simulated CRDs of Cluster API's in-cluster IPAM provider, which is not on
// the module proxy: the fields in its documentation, and no controller. IPAddress and
// IPAddressClaim are Cluster API's own.
func (m *Management) installPools() error {
	_, err := envtest.InstallCRDs(m.config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{
		poolCRD("InClusterIPPool", "inclusterippool", apiextensionsv1.NamespaceScoped),
		poolCRD("GlobalInClusterIPPool", "globalinclusterippool", apiextensionsv1.ClusterScoped),
	}})
	return err
}

func poolCRD(kind, singular string, scope apiextensionsv1.ResourceScope) *apiextensionsv1.CustomResourceDefinition {
	const group = "ipam.cluster.x-k8s.io"
	type props = apiextensionsv1.JSONSchemaProps
	text := props{Type: "string"}
	list := props{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &text}}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: singular + "s." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: scope,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, ListKind: kind + "List", Singular: singular, Plural: singular + "s"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1alpha2", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &props{Type: "object", Properties: map[string]props{
					"spec": {Type: "object", Required: []string{"addresses", "prefix"}, Properties: map[string]props{
						"addresses": list, "excludedAddresses": list, "prefix": {Type: "integer"}, "gateway": text,
						"allocateReservedIPAddresses": {Type: "boolean"}, "addressReuseGracePeriodSeconds": {Type: "integer"},
					}},
				}}},
			}},
		},
	}
}
