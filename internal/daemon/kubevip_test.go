package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
)

const kubeVipPod = `apiVersion: v1
kind: Pod
metadata: {name: kube-vip, namespace: kube-system}
spec:
  containers:
  - name: kube-vip
    image: registry.example.com:5000/mirror/kube-vip:v0.6.4@sha256:00
    env: [{name: cp_enable, value: "true"}]
`

func TestAwaitNoKubeVip(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put("etcd.yaml", "kind: Pod\nspec: {containers: [{image: 'registry.k8s.io/etcd:3.6.8-0'}]}")
	put("services.yaml", "kind: Pod\nspec: {containers: [{image: 'ghcr.io/kube-vip/kube-vip:v1', env: [{name: svc_enable, value: 'true'}]}]}")
	put("kube-vip.yaml", "kind: Pod\nspec: {containers: [{image: 'ghcr.io/vipd-io/vipd:v1', env: [{name: cp_enable, value: 'true'}]}]}") // another image under that file name
	put("broken.yaml", "{")
	put(".hidden.yaml", kubeVipPod)
	core, logs := observer.New(zap.InfoLevel)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, ctx := range []context.Context{t.Context(), ended} { // even if ctx has ended
		if alone, err := awaitNoKubeVip(ctx, dir, zap.New(core)); !alone || err != nil || logs.Len() > 0 {
			t.Fatalf("without one: %t, %v, %v", alone, err, logs.All())
		}
	}
	bubble.Test(t, func(t *testing.T) {
		path := put("other.yaml", kubeVipPod)
		done := make(chan error, 1)
		go func() {
			alone, err := awaitNoKubeVip(t.Context(), dir, zap.New(core))
			if !alone {
				err = errors.Join(err, errors.New("not alone"))
			}
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		if all := logs.All(); len(all) != 1 || all[0].ContextMap()["manifest"] != path {
			t.Errorf("log = %v", all)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	put("other.yaml", kubeVipPod)
	if alone, err := awaitNoKubeVip(ended, dir, zap.NewNop()); alone || err != nil {
		t.Errorf("ended while it waits: %t, %v", alone, err)
	}
	if _, err := awaitNoKubeVip(t.Context(), filepath.Join(dir, "missing"), zap.NewNop()); err == nil {
		t.Error("a folder that is not there is none without kube-vip")
	}
}
