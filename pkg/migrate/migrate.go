// Package migrate puts vipd in kube-vip's place in the manifests that clusters are
// made from: a static pod, a KubeadmControlPlane, a ClusterClass and its Clusters.
// What it does not replace stays byte for byte as it was: it edits ranges of the
// text, and reads the result again to see that nothing else has changed. It is
// pure: text in, text out.
package migrate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Options say what is written.
type Options struct {
	// Image is vipd's.
	Image string
	// Timing says what vipd has against a lease duration and a renew interval.
	Timing func(lease, renew time.Duration) error
	// Elsewhere: kube-vip's manifest is in another file that is migrated together
	// with this one, as a class and its template may be.
	Elsewhere bool
}

// Result is what came of a file.
type Result struct {
	// Out is the file with vipd in it; the file as it was, if there is nothing to change.
	Out string
	// Edits are what has been replaced in the file, by its bytes.
	Edits []Edit
	// Replaced: a manifest in a file has been replaced, and not only one in a variable.
	Replaced bool
	// Notes are what a person should know, in the order of the file.
	Notes []Note
}

// Changed tells whether there was something to migrate.
func (r Result) Changed() bool { return len(r.Edits) > 0 }

// Note is something that a person should know.
type Note struct {
	// Line is that of the file as it was, from 1; 0 for the file as a whole.
	Line int
	// Loss: something that worked with kube-vip does not with vipd.
	Loss bool
	Text string
}

// Refusal is why a file cannot be migrated, and what can be done about it.
type Refusal struct {
	Line        int
	Reason, Way string
}

func (r *Refusal) Error() string { return r.Reason + ": " + r.Way }

// ErrNoKubeVip is about a file that has no manifest of kube-vip's in it, nor of vipd's.
var ErrNoKubeVip = errors.New("no manifest of kube-vip in it, nor of vipd")

// Migrate puts vipd in kube-vip's place. If it returns an error, a *Refusal among
// others, there is no result at all.
func Migrate(src string, o Options) (Result, error) {
	if !utf8.ValidString(src) {
		return Result{}, errors.New("not UTF-8 text")
	}
	if !mentions(src) && !strings.Contains(src, "vipd") {
		return Result{}, ErrNoKubeVip
	}
	if r := templates(src); r != nil {
		return Result{}, r
	}
	file, err := newJob(src)
	if err != nil {
		if r := notYAML(src); r != nil {
			return Result{}, r
		}
		return Result{}, err
	}
	m := &migration{options: o}
	for _, doc := range file.docs {
		m.kind = str(get(root(doc), "kind"))
		m.walk(file, doc, nil, false)
	}
	if err := m.edit(); err != nil {
		return Result{}, err
	}
	out, err := file.finish()
	if err != nil {
		if r := (*Refusal)(nil); errors.As(err, &r) {
			return Result{}, err
		}
		return Result{}, &Refusal{Reason: err.Error(), Way: "nothing was written; please report it with the file. `vipd manifest pod` and `vipd manifest kcp` print what is to stand there"}
	}
	r := Result{Out: out, Edits: file.edits, Replaced: m.replaced, Notes: m.notes}
	if line := lineOfMatch(out, imageLine); line > 0 && !m.announcer {
		return Result{}, &Refusal{Line: lineOf(src, imageLine.FindString(out)), Reason: "there is a manifest of kube-vip's that cannot be read",
			Way: "see whether it is YAML as it stands there; replace it by hand with what `vipd manifest pod` prints, and migrate again"}
	}
	r.leftovers()
	slices.SortStableFunc(r.Notes, func(a, b Note) int { return a.Line - b.Line })
	if r.Changed() || m.vipd || m.kept {
		return r, nil
	}
	return Result{}, m.nothing(src)
}

// mentions: kube-vip's names, its environment, and what stands in its place elsewhere.
func mentions(s string) bool {
	return kubeVipName.MatchString(s) || strings.Contains(s, "vip_arp") || strings.Contains(s, "keepalived")
}

var kubeVipName = regexp.MustCompile(`(?i)kube-?_?vip`)

// imageLine is that of a kube-vip's container.
var imageLine = regexp.MustCompile(`(?m)^[^#\n]*image["']?: *["']?\S*kube-vip`)

func lineOfMatch(s string, pattern *regexp.Regexp) int {
	at := pattern.FindStringIndex(s)
	if at == nil {
		return 0
	}
	return lineAt(s, at[0])
}

// nothing is why there is nothing to do.
func (m *migration) nothing(src string) error {
	if line := lineOf(src, "keepalived"); line > 0 {
		return &Refusal{Line: line, Reason: "keepalived holds the address here, not kube-vip: it elects by VRRP, and knows nothing of vipd's Lease",
			Way: "take keepalived's files and commands out by hand, and put in what `vipd manifest kcp` prints; never let both run at the same time"}
	}
	if kubeVipName.MatchString(src) {
		return fmt.Errorf("%w; line %d is about it: give the file with the manifest in the same command", ErrNoKubeVip, lineOf(src, kubeVipName.FindString(src)))
	}
	return ErrNoKubeVip
}

// lineOf is the first line that has a string in it, 0 for none.
func lineOf(s, part string) int {
	before, _, ok := strings.Cut(s, part)
	if !ok {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}

// leftovers tells of lines of the result that still name kube-vip.
func (r *Result) leftovers() {
	for i, line := range strings.Split(r.Out, "\n") {
		if t := strings.TrimSpace(line); r.Changed() && kubeVipName.MatchString(strings.ReplaceAll(t, "kubeVipPodManifest", "")) && !strings.HasPrefix(t, "#") {
			r.Notes = append(r.Notes, Note{Text: fmt.Sprintf("line %d of the result still names kube-vip, and was left as it is: %s", i+1, shorten(t))})
		}
	}
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return s
}
