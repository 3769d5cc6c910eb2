package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerfile = "../../Dockerfile"

// The image matches the last stage of the Dockerfile; each instruction is compared.
func TestDockerfile(t *testing.T) {
	image := Vipd("vipd:v1", "v1", "", "bin/vipd", "LICENSE")
	want := Image{Name: image.Name, Config: ocispec.ImageConfig{Labels: make(map[string]string)}}
	for _, line := range lastStage(t) {
		instruction, rest, _ := strings.Cut(line, " ")
		switch instruction {
		case "FROM":
			if rest != "scratch" {
				t.Errorf("the last stage is from %s, want scratch", rest)
			}
		case "ARG":
			if rest != "VERSION=unknown" {
				t.Errorf("argument %s is not known here", rest)
			}
		case "LABEL":
			for label := range strings.SplitSeq(strings.TrimSuffix(rest, `"`), `" `) {
				key, value, _ := strings.Cut(label, `="`)
				want.Config.Labels[key] = strings.ReplaceAll(value, "$VERSION", "v1")
			}
		case "COPY":
			f := strings.Fields(rest)
			want.Files = append(want.Files, File{To: f[len(f)-1]})
			if from := f[len(f)-2]; path.Base(from) != path.Base(f[len(f)-1]) {
				t.Errorf("%s becomes %s: another name", from, f[len(f)-1])
			}
		case "USER":
			want.Config.User = rest
		case "ENTRYPOINT":
			want.Config.Entrypoint = list(t, rest)
		case "CMD":
			want.Config.Cmd = list(t, rest)
		default:
			t.Errorf("%s is not known here", line)
		}
	}
	for i := range image.Files { // the Dockerfile does not set the modes
		image.Files[i].From, image.Files[i].Mode = "", 0
	}
	if diff := cmp.Diff(want, image); diff != "" {
		t.Errorf("the image is not the Dockerfile's (-Dockerfile +image):\n%s", diff)
	}
}

// lastStage returns the instructions of the last stage, one per line.
func lastStage(t *testing.T) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(b), "\\\n", " ")) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.HasPrefix(line, "FROM ") {
			lines = nil
		}
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func list(t *testing.T, text string) (items []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &items); err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return items
}

// `make image` writes the same bytes each time, and a vipd that runs for each architecture.
func TestMakeImage(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		dist := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "make", "-C", filepath.Join("..", ".."), "image", "VERSION=v1.2.3", "DIST="+dist)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make image: %v\n%s", err, out)
		}
		files, err := os.ReadDir(dist)
		if err != nil || len(files) != 1 || files[0].Name() != "vipd-v1.2.3-image.tar" {
			t.Fatalf("in the folder: %v, %v", files, err)
		}
		if archives[i], err = os.ReadFile(filepath.Join(dist, files[0].Name())); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the second archive is another one")
	}
	all := readAll(t, archives[0])
	if len(all) != len(emulators) {
		t.Fatalf("%d architectures", len(all))
	}
	for _, got := range all {
		t.Run(got.platform, func(t *testing.T) {
			if got.name != "ghcr.io/vipd-io/vipd:v1.2.3" || got.config.Config.Labels[ocispec.AnnotationVersion] != "v1.2.3" {
				t.Errorf("image %s of version %s", got.name, got.config.Config.Labels[ocispec.AnnotationVersion])
			}
			vipd := got.files["vipd"]
			if vipd.mode != 0o755 {
				t.Errorf("/vipd has mode %o", vipd.mode)
			}
			runs(t, emulators[got.platform], vipd.content)
		})
	}
}

// emulators run programs of other architectures.
var emulators = map[string][]string{"linux/amd64": nil, "linux/arm64": {"qemu-aarch64-static"}}

// runs runs what vipd can do without a control plane: its version, a manifest that names its image,
// and the checks of a machine before kubeadm.
func runs(t *testing.T, emulator []string, vipd []byte) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "vipd")
	if err := os.WriteFile(program, vipd, 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout string, status int) {
		t.Helper()
		command := append(append(slices.Clone(emulator), program), args...)
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatalf("%v (make deps installs what runs it): %v", command, err)
		}
		if errs.Len() > 0 {
			t.Errorf("vipd %v: status %d: %s", args, cmd.ProcessState.ExitCode(), errs.String())
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
	if out, status := run("version"); status != 0 || !strings.Contains(out, "v1.2.3") {
		t.Errorf("vipd version: status %d: %s", status, out)
	}
	if out, status := run("manifest", "pod", "--address", "192.168.35.100"); status != 0 || !strings.Contains(out, "image: ghcr.io/vipd-io/vipd:v1.2.3\n") {
		t.Errorf("vipd manifest pod: status %d: %s", status, out)
	}
	// The findings depend on this machine.
	out, status := run("doctor", "--preflight", "--address", "192.168.35.100", "--output", "json", "--timeout", "60s")
	var report struct {
		Results []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status > 2 || len(report.Results) < 10 {
		t.Errorf("vipd doctor --preflight: status %d, %v: %s", status, err, out)
	}
}
