package capi

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// contractLabel with a version of Cluster API's contract, on a CRD, says which versions of the CRD
// implement that contract.
const contractLabel = "cluster.x-k8s.io/"

// infrastructure is the API group of CAPV.
const infrastructure = "infrastructure.cluster.x-k8s.io"

// standIns are the kinds of CAPV that Cluster API reads. CAPV is not on the module proxy; the types
// here accept anything, and no controller acts on them.
var standIns = []string{"VSphereCluster", "VSphereClusterTemplate", "VSphereMachine", "VSphereMachineTemplate"}

func (m *Management) installStandIns() error {
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range standIns {
		crds = append(crds, standIn(kind))
	}
	_, err := envtest.InstallCRDs(m.config, envtest.CRDInstallOptions{CRDs: crds})
	return err
}

func standIn(kind string) *apiextensionsv1.CustomResourceDefinition {
	singular := strings.ToLower(kind)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:   singular + "s." + infrastructure,
			Labels: map[string]string{contractLabel + "v1beta2": "v1beta1"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: infrastructure,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, ListKind: kind + "List", Singular: singular, Plural: singular + "s"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1beta1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: new(true),
				}},
			}},
		},
	}
}
