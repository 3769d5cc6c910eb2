// Package migrate replaces kube-vip with vipd in the manifests of clusters: a static pod, a
// KubeadmControlPlane, a ClusterClass and its Clusters. Everything else stays byte for byte: the
// package edits ranges of the text, and parses the result to verify that nothing else has changed.
// It is pure: text in, text out.
package migrate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Options configures Migrate.
type Options struct {
	// Image is the image of vipd.
	Image string
	// Timing returns an error if vipd does not accept that lease duration and renew interval.
	Timing func(lease, renew time.Duration) error
	// Distribution is the name of the distribution (package manifest) that a manifest is for if its
	// paths do not tell, "" for kubeadm, and for none of a DaemonSet.
	Distribution string

	// Other files are migrated together with this one, for example a class and its template:
	// elsewhere are kube-vip's manifests in them, beside their content, and texts their commands.
	elsewhere     []replaced
	beside, texts []string
}

// replacedElsewhere tells whether the manifest of this file's kube-vip may be in another file.
func (o Options) replacedElsewhere() bool {
	return slices.ContainsFunc(o.elsewhere, func(w replaced) bool { return !w.variable })
}

// Result is the result for a file.
type Result struct {
	// Out is the file with vipd, or the unchanged file if there is nothing to change.
	Out string
	// Edits are the replaced ranges of the file, in bytes.
	Edits []Edit
	// Notes are for the person who migrates, in the order of the file.
	Notes []Note
}

// Changed tells whether there was something to migrate.
func (r Result) Changed() bool { return len(r.Edits) > 0 }

// Note is a remark for the person who migrates.
type Note struct {
	// Line is a line of the original file, from 1; 0 for the file as a whole.
	Line int
	// Loss tells that something that worked with kube-vip does not work with vipd.
	Loss bool
	Text string
}

// Refusal is why a file cannot be migrated, and what to do about it.
type Refusal struct {
	Line        int
	Reason, Way string
}

func (r *Refusal) Error() string { return r.Reason + ": " + r.Way }

// ErrNoKubeVip means that a file contains no manifest of kube-vip, nor of vipd.
var ErrNoKubeVip = errors.New("no manifest of kube-vip in it, nor of vipd")

// Migrate replaces kube-vip with vipd. With an error, which may be a *Refusal, there is no result.
func Migrate(src string, o Options) (Result, error) {
	return newMigration(o).migrate(src)
}

func newMigration(o Options) *migration {
	return &migration{options: o, applied: make(map[*yaml.Node]bool), gone: make(map[*yaml.Node]bool), owner: make(map[*yaml.Node]*yaml.Node)}
}

func (m *migration) migrate(src string) (Result, error) {
	if !utf8.ValidString(src) {
		return Result{}, errors.New("not UTF-8 text")
	}
	kustomizes := len(m.options.elsewhere) > 0 && strings.Contains(src, "Kustomization")
	if !mentions(src) && !strings.Contains(src, "vipd") && !kustomizes {
		return Result{}, ErrNoKubeVip
	}
	if r := templates(src); r != nil {
		return Result{}, r
	}
	file, err := parse(src)
	if err != nil {
		if at := vrrpConfig.FindStringIndex(src); at != nil && !kubeVipName.MatchString(withoutComments(src)) {
			return Result{}, withVRRP(lineAt(src, at[1]-1))
		}
		return Result{}, notYAML(src, err)
	}
	for _, doc := range file.docs {
		if isScript(src) || odd(doc) {
			if r := script(src); r != nil {
				return Result{}, r
			}
			return Result{}, &Refusal{Line: root(doc).Line, Reason: scripted, Way: scriptsWay}
		}
		m.kind, m.object = str(get(root(doc), "kind")), doc
		m.walk(file, doc, place{})
	}
	if err := m.edit(); err != nil {
		return Result{}, err
	}
	if err := m.checkKeepalived(file); err != nil {
		return Result{}, err
	}
	out, err := file.finish()
	if err != nil {
		if r := (*Refusal)(nil); errors.As(err, &r) {
			return Result{}, err
		}
		return Result{}, &Refusal{Reason: err.Error(), Way: report}
	}
	r := Result{Out: reveal(out), Edits: revealEdits(file.src, file.edits), Notes: m.notes}
	if len(r.Edits) > 0 {
		if err := r.leftovers(out); err != nil {
			return Result{}, &Refusal{Reason: err.Error(), Way: report}
		}
	}
	slices.SortStableFunc(r.Notes, func(a, b Note) int { return a.Line - b.Line })
	if r.Changed() || m.vipd || m.kept {
		return r, nil
	}
	return Result{}, m.nothing(file, src)
}

const report = "nothing was written; please report it with the file. `vipd manifest pod` and `vipd manifest kcp` print the manifests to use"

// parse parses a file, with its placeholders hidden.
func parse(src string) (*job, error) {
	file, err := newJob(hide(src, false))
	if err == nil {
		return file, nil
	}
	for _, s := range []string{hide(src, true), hideLines(src, true), hideLines(src, false)} {
		if file, err = newJob(s); err == nil {
			return file, nil
		}
	}
	return nil, err
}

// mentions tells whether a text mentions kube-vip, its variables, or keepalived.
func mentions(s string) bool {
	return kubeVipName.MatchString(s) || strings.Contains(s, "vip_arp") || keepalived.MatchString(s) || strings.Contains(s, "cp_enable")
}

var kubeVipName = regexp.MustCompile(`(?i)kube-?_?vip`)

// imageLine matches the line with kube-vip's image.
var imageLine = regexp.MustCompile(`(?m)^[^#\n]*image["']?: *["']?\S*kube-vip`)

// lineOf returns the first line that contains a string, 0 for none.
func lineOf(s, part string) int {
	before, _, ok := strings.Cut(s, part)
	if !ok {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}

// leftovers notes the lines of the result that still mention kube-vip, outside of comments and copies.
// out is the result with hidden placeholders.
func (r *Result) leftovers(out string) error {
	j, err := newJob(out)
	if err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	copies := j.copies()
	for i, start := range j.lines {
		t := strings.TrimSpace(reveal(j.rest(start)))
		if kubeVipName.MatchString(strings.ReplaceAll(t, "kubeVipPodManifest", "")) && !strings.HasPrefix(t, "#") && !copies[i+1] {
			r.Notes = append(r.Notes, Note{Text: fmt.Sprintf("line %d of the result still names kube-vip, and was left as it is: %s", i+1, shorten(t))})
		}
	}
	return nil
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return s
}
