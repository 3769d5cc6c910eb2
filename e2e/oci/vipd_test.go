package oci

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerfile = "../../Dockerfile"

// The image is what the last stage of the Dockerfile describes, each instruction of
// which is compared.
func TestDockerfile(t *testing.T) {
	image := Vipd("vipd:v1", "v1", "bin/vipd", "LICENSE")
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
	for i := range image.Files { // which the Dockerfile leaves to the files themselves
		image.Files[i].From, image.Files[i].Mode = "", 0
	}
	if diff := cmp.Diff(want, image); diff != "" {
		t.Errorf("the image is not the Dockerfile's (-Dockerfile +image):\n%s", diff)
	}
}

// lastStage is its instructions, one a line.
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

// `make image` writes the same bytes each time.
func TestMakeImage(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		dist := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "make", "-C", filepath.Join("..", ".."), "image", "VERSION=v1.2.3", "DIST="+dist)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make image: %v\n%s", err, out)
		}
		files, err := os.ReadDir(dist)
		if err != nil || len(files) != 1 || files[0].Name() != "vipd-v1.2.3-linux-amd64.tar" {
			t.Fatalf("in the folder: %v, %v", files, err)
		}
		if archives[i], err = os.ReadFile(filepath.Join(dist, files[0].Name())); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the second archive is another one")
	}
	got := read(t, archives[0])
	if got.name != "ghcr.io/vipd-io/vipd:v1.2.3" || got.config.Config.Labels[ocispec.AnnotationVersion] != "v1.2.3" {
		t.Errorf("image %s of version %s", got.name, got.config.Config.Labels[ocispec.AnnotationVersion])
	}
	if vipd := got.files["vipd"]; vipd.mode != 0o755 || !bytes.HasPrefix(vipd.content, []byte("\x7fELF")) {
		t.Errorf("/vipd has mode %o, %d bytes", vipd.mode, len(vipd.content))
	}
}
