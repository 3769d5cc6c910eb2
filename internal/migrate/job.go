package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// job is a text with YAML: the file, or a string in the text of another job.
type job struct {
	text
	docs []*yaml.Node
	// outer is the job that contains this one, and at the string in it; nil for the file.
	outer *job
	at    *yaml.Node
	inner []*job
	edits []Edit
	// expect are the changes of the tree that the edits should cause; finish compares the tree with
	// that of the result.
	expect []func()
	// gone counts the removed items of each list, and the removed lists of each mapping.
	gone map[*yaml.Node]int
	// templated tells that the text is a template that Cluster API renders before cloud-init reads
	// it.
	templated bool
}

// newJob parses all documents of a text.
func newJob(src string) (*job, error) {
	j := &job{text: newText(src)}
	d := yaml.NewDecoder(bytes.NewReader([]byte(src)))
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return j, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read YAML: %w", err)
		}
		j.docs = append(j.docs, &doc)
	}
}

// fileLine converts a line of this text to a line of the file: for a quoted string, the line where
// the string begins.
func (j *job) fileLine(line int) int {
	if j.outer == nil {
		return line
	}
	if j.at.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		return j.outer.fileLine(j.at.Line)
	}
	return j.outer.fileLine(j.outer.line(j.outer.start(j.at)) + line)
}

// finish adds the edits of strings to the text around them, applies all edits, and returns the
// result. It parses the result to verify that nothing else has changed.
func (j *job) finish() (string, error) {
	for _, in := range j.inner {
		result, err := in.finish()
		if err != nil {
			return "", err
		}
		if len(in.edits) == 0 {
			continue
		}
		edits, err := j.embed(in.at, in.edits, result)
		if err != nil {
			return "", err
		}
		j.edits = append(j.edits, edits...)
		j.expect = append(j.expect, func() { in.at.Value = result })
	}
	sortEdits(j.edits)
	result, err := apply(j.src, j.edits)
	if err != nil || len(j.edits) == 0 {
		return result, err
	}
	if strings.Contains(j.src, "\r\n") && j.outer == nil {
		for i := range j.edits {
			j.edits[i].Text = strings.ReplaceAll(j.edits[i].Text, "\n", "\r\n")
		}
		if result, err = apply(j.src, j.edits); err != nil {
			return "", err
		}
	}
	return result, j.check(result)
}

// check compares the result with the expected tree.
func (j *job) check(result string) error {
	for _, f := range j.expect {
		f()
	}
	got, err := newJob(result)
	if err != nil {
		return fmt.Errorf("the result is no longer YAML: %w", err)
	}
	if len(got.docs) != len(j.docs) {
		return fmt.Errorf("the result has %d documents instead of %d", len(got.docs), len(j.docs))
	}
	for i := range j.docs {
		if !same(j.docs[i], got.docs[i]) {
			return errors.New("the result differs in more than the intended changes")
		}
	}
	return nil
}

// same tells whether two trees are equal except for layout, comments and the number of line breaks
// at the end of a text.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Anchor == b.Anchor &&
		strings.TrimRight(a.Value, "\n") == strings.TrimRight(b.Value, "\n") &&
		slices.EqualFunc(a.Content, b.Content, same)
}

// get returns the value of a key of a mapping, or of nested keys.
func get(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = value(n, key)
	}
	return n
}

func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// str returns the text of a scalar with its placeholders, "" for anything else.
func str(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return reveal(n.Value)
}

// remove removes an item from a block sequence.
func (j *job) remove(seq, item *yaml.Node) error {
	if seq.Style&yaml.FlowStyle != 0 {
		return j.refuse(item, "the list is written in [ ]", "write the list with a dash and a line for each item, as `kubectl get -o yaml` does")
	}
	at, err := j.dash(item)
	if err != nil {
		return j.refuse(item, err.Error(), "write the list with a dash and a line for each item")
	}
	e, err := j.wholeLines(at, item)
	if err != nil {
		return j.refuse(item, err.Error(), "write the list with a dash and a line for each item")
	}
	j.edits = append(j.edits, e)
	j.expect = append(j.expect, func() {
		for i, n := range seq.Content {
			if n == item {
				seq.Content = append(seq.Content[:i:i], seq.Content[i+1:]...)
				return
			}
		}
	})
	return nil
}

// removeEmpty removes the key of a sequence whose items are all removed.
func (j *job) removeEmpty(parent, seq *yaml.Node) error {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		key := parent.Content[i]
		if parent.Content[i+1] != seq {
			continue
		}
		at := j.offset(key.Line, key.Column)
		start := j.lineStart(j.line(at))
		j.gone[parent]++
		if strings.Trim(j.src[start:at], " ") != "" || 2*j.gone[parent] == len(parent.Content) {
			// Write an empty list if the line or the mapping has to stay.
			end := at + len(key.Value)
			colon := strings.IndexByte(j.src[end:], ':')
			if colon < 0 {
				return j.refuse(key, "the list would be empty", "remove it by hand")
			}
			end += colon + 1
			j.edits = append(j.edits, Edit{Start: end, End: end, Text: " []"})
			return nil
		}
		j.edits = append(j.edits, Edit{Start: start, End: j.lineStart(j.line(at) + 1)})
		j.expect = append(j.expect, func() {
			for i := 0; i+1 < len(parent.Content); i += 2 {
				if parent.Content[i+1] == seq {
					parent.Content = append(parent.Content[:i:i], parent.Content[i+2:]...)
					return
				}
			}
		})
		return nil
	}
	return errors.New("a list without a key")
}

// substitute replaces paths in a scalar, as written in the source.
func (j *job) substitute(n *yaml.Node, paths []string, with func(string) string) error {
	start := j.start(n)
	end, err := j.end(n)
	if err != nil {
		return j.refuse(n, err.Error(), "write it in one line")
	}
	for _, p := range paths {
		paths = append(paths, hide(p, true))
	}
	raw, inValue := j.src[start:end], mentioned(n.Value, paths)
	inRaw := mentioned(raw, paths)
	if len(inRaw) != len(inValue) {
		return j.refuse(n, "the value is written with escapes", "write "+paths[0]+" without escapes")
	}
	var edits []Edit
	for _, at := range inValue {
		edits = append(edits, Edit{Start: at[0], End: at[1], Text: with(n.Value[at[0]:at[1]])})
	}
	result, err := apply(n.Value, edits)
	if err != nil {
		return err
	}
	for _, at := range inRaw {
		j.edits = append(j.edits, Edit{Start: start + at[0], End: start + at[1], Text: with(raw[at[0]:at[1]])})
	}
	j.expect = append(j.expect, func() { n.Value = result })
	return nil
}

// mentioned returns where one of the paths is in a text, and not only the beginning of a longer name.
func mentioned(text string, paths []string) (out [][]int) {
	sorted := slices.Clone(paths)
	slices.SortFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	for i, p := range sorted {
		sorted[i] = regexp.QuoteMeta(p)
	}
	for _, at := range regexp.MustCompile(strings.Join(sorted, "|")).FindAllStringIndex(text, -1) {
		if !longer.MatchString(text[at[1]:]) {
			out = append(out, at)
		}
	}
	return out
}

// longer matches what continues a file name.
var longer = regexp.MustCompile(`^(?:[\w-]|\.\w)`)

// refuse returns a Refusal for a node.
func (j *job) refuse(n *yaml.Node, reason, way string) error {
	return &Refusal{Line: j.fileLine(n.Line), Reason: reason, Way: way}
}
