package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Binaries are the paths of the programs of a lab.
type Binaries struct {
	Etcd      string
	Kubeadm   string
	APIServer string
	Vipd      string // "" with ControlPlaneOnly
	// Version is that of Kubernetes.
	Version string

	// For nodes with a kubelet; "" without BuildOptions.Kubelet.
	Kubelet, ControllerManager, Scheduler, Pause string

	KubeVip string // a stand-in; "" without BuildOptions.KubeVip
}

// BuildOptions configures Build.
type BuildOptions struct {
	// Root is the root of the vipd repository. Default: the folder that has
	// e2e/binaries, from the working directory upwards.
	Root string
	// Cache is where binaries are kept. Default: $VIPD_LAB_CACHE, else
	// vipd-lab in the user's cache folder.
	Cache string
	// Progress is where to show progress; nil for nowhere.
	Progress *os.File
	// ControlPlaneOnly leaves vipd out.
	ControlPlaneOnly bool
	// Minor is the minor version of Kubernetes. Default: the one that K8S chooses.
	Minor string
	// Kubelet adds the programs of nodes with a kubelet.
	Kubelet bool
	// KubeVip adds a stand-in for kube-vip.
	KubeVip bool
}

// ldflags returns the flags that set the real version, which kubeadm checks, and omit 40 MB of symbols
// from the largest program.
func ldflags(version string) string {
	minor := strings.Split(version, ".")[1]
	return strings.Join([]string{
		"-s -w",
		"-X k8s.io/component-base/version.gitVersion=" + version,
		"-X k8s.io/component-base/version.gitMajor=1",
		"-X k8s.io/component-base/version.gitMinor=" + minor,
		"-X k8s.io/client-go/pkg/version.gitVersion=" + version,
	}, " ")
}

// A target is a command to build.
type target struct {
	name    string // also the name of the file
	pkg     string
	ldflags string
	title   string // for the progress display
}

const slow = "; the first time about 7 minutes on 2 idle cores, kept afterwards"

// kubernetesTargets returns the programs of a control plane, and with kubelet also those of nodes that
// have one.
func kubernetesTargets(version string, kubelet bool) []target {
	flags := ldflags(version)
	out := []target{
		{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", flags, "kube-apiserver " + version + slow},
		{"kubeadm", "k8s.io/kubernetes/cmd/kubeadm", flags, "kubeadm " + version},
		{"etcd", "go.etcd.io/etcd/server/v3", flags, "etcd"},
	}
	if !kubelet {
		return out
	}
	return append(out,
		target{"kubelet", "k8s.io/kubernetes/cmd/kubelet", flags, "kubelet " + version + "; a first build takes about 2 minutes"},
		target{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", flags, "kube-controller-manager " + version},
		target{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", flags, "kube-scheduler " + version})
}

// pauseTarget is the process that holds a pod's namespaces.
var pauseTarget = target{"pause", "./kubeadm/pause", "-s -w", "pause"}

// kubeVipTarget is a program in place of kube-vip's image.
var kubeVipTarget = target{"kube-vip", "./kubeadm/kubevip", "-s -w", "a stand-in for kube-vip"}

var vipdTarget = target{"vipd", "./cmd/vipd", "-s -w", "vipd"}

// Build builds the programs of a lab from source, with the Go toolchain only. The control plane
// takes minutes once and is then cached; vipd is built each time. Builds of several processes wait
// for one another.
func Build(ctx context.Context, opts BuildOptions) (Binaries, error) {
	if err := opts.setDefaults(); err != nil {
		return Binaries{}, err
	}
	source, version := filepath.Join(opts.Root, "e2e", "binaries", opts.Minor), kubernetes[opts.Minor]
	key, err := cacheKey(ctx, source, ldflags(version))
	if err != nil {
		return Binaries{}, err
	}
	dir := filepath.Join(opts.Cache, key)
	vipd := filepath.Join(opts.Cache, "vipd-"+shortHash([]byte(opts.Root)))
	pause, kubeVip := filepath.Join(dir, "pause"), filepath.Join(dir, "kube-vip")
	err = withLock(ctx, opts.Cache, func() error {
		if err := buildMissing(ctx, source, dir, kubernetesTargets(version, opts.Kubelet), opts); err != nil {
			return err
		}
		if opts.Kubelet {
			if err := goBuild(ctx, filepath.Join(opts.Root, "e2e"), pause, pauseTarget, opts.Progress); err != nil {
				return err
			}
		}
		if opts.KubeVip {
			if err := goBuild(ctx, filepath.Join(opts.Root, "e2e"), kubeVip, kubeVipTarget, opts.Progress); err != nil {
				return err
			}
		}
		if opts.ControlPlaneOnly {
			vipd = ""
			return nil
		}
		if err := download(ctx, opts.Root, downloadPause, opts.Progress); err != nil {
			return err
		}
		return goBuild(ctx, opts.Root, vipd, vipdTarget, opts.Progress)
	})
	if err != nil {
		return Binaries{}, err
	}
	bin := Binaries{
		Etcd:      filepath.Join(dir, "etcd"),
		Kubeadm:   filepath.Join(dir, "kubeadm"),
		APIServer: filepath.Join(dir, "kube-apiserver"),
		Version:   version,
		Vipd:      vipd,
	}
	if opts.Kubelet {
		bin.Kubelet = filepath.Join(dir, "kubelet")
		bin.ControllerManager = filepath.Join(dir, "kube-controller-manager")
		bin.Scheduler = filepath.Join(dir, "kube-scheduler")
		bin.Pause = pause
	}
	if opts.KubeVip {
		bin.KubeVip = kubeVip
	}
	return bin, nil
}

// buildMissing builds what is missing in a folder of the cache, marks the folder as used, and
// prunes others.
func buildMissing(ctx context.Context, source, dir string, targets []target, opts BuildOptions) error {
	for _, t := range targets {
		to := filepath.Join(dir, t.name)
		if _, err := os.Stat(to); err == nil {
			continue
		}
		if err := download(ctx, source, downloadPause, opts.Progress); err != nil {
			return err
		}
		if err := goBuild(ctx, source, to, t, opts.Progress); err != nil {
			return err
		}
	}
	if err := prune(opts.Cache, dir, time.Now()); err != nil && opts.Progress != nil {
		fmt.Fprintln(opts.Progress, err) // the folder takes space, but does not prevent the build
	}
	return nil
}

func (o *BuildOptions) setDefaults() error {
	if o.Minor == "" {
		minor, err := kubernetesMinor()
		if err != nil {
			return err
		}
		o.Minor = minor
	}
	if o.Root == "" {
		root, err := findRoot()
		if err != nil {
			return err
		}
		o.Root = root
	}
	if o.Cache == "" {
		o.Cache = os.Getenv("VIPD_LAB_CACHE")
	}
	if o.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find cache folder: %w", err)
		}
		o.Cache = filepath.Join(cache, "vipd-lab")
	}
	return nil
}

// findRoot returns the root of the repository, from the working directory upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find vipd's repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "binaries")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find vipd's repository: no e2e/binaries here or above")
		}
		dir = parent
	}
}

// cacheKey returns a key that changes with everything that changes the binaries.
func cacheKey(ctx context.Context, source, flags string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*", "*.go")) // programs of the module itself
	if err != nil {
		return "", err
	}
	var all []byte
	for _, name := range append([]string{filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum")}, files...) {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read modules to build: %w", err)
		}
		all = append(all, b...)
	}
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its version: %w", err)
	}
	all = append(all, version...)
	return shortHash(append(all, flags...)), nil
}

func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// goBuild builds one command and moves it into place when it is complete.
func goBuild(ctx context.Context, dir, to string, t target, out *os.File) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	part := to + ".part"
	defer os.Remove(part) // missing after success
	// go does not link again if the existing file is up to date by its build ID.
	if err := copyFile(to, part, 0o755); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", t.ldflags, "-o", part, t.pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // go stops its compilers
	p := newProgress(out, t.title)
	cmd.Stderr = p
	stop := p.start()
	err := cmd.Run()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", t.name, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", t.name, err, p.tail())
	}
	if err := os.Rename(part, to); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	p.done()
	return nil
}
