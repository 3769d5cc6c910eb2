package migrate

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// isCopy tells whether the value of a key is what a program stored about an object, such as
// kubectl's last-applied-configuration: a copy of the object, which that program replaces.
func isCopy(parent *yaml.Node, keys []string, key string) bool {
	inMetadata := len(keys) > 0 && keys[len(keys)-1] == "metadata"
	return inMetadata && (key == "annotations" || key == "managedFields") || key == "status" && get(parent, "kind") != nil ||
		key == "data" && str(get(parent, "kind")) == "ControllerRevision"
}

// copies returns the lines of a text that are copies, or empty.
func (j *job) copies() map[int]bool {
	lines := make(map[int]bool)
	for _, doc := range j.docs {
		visit(root(doc), nil, func(*yaml.Node) {}, func(key, n *yaml.Node) {
			last := key.Line
			if end, err := j.end(n); err == nil {
				last = j.line(end)
			}
			for line := key.Line; line <= last; line++ {
				lines[line] = true
			}
		})
	}
	return lines
}

// visit calls f for each node that is in no copy, and copied for the key and the value of each copy.
func visit(n *yaml.Node, keys []string, f func(*yaml.Node), copied func(key, n *yaml.Node)) {
	f(n)
	for i, c := range n.Content {
		switch {
		case n.Kind != yaml.MappingNode:
			visit(c, keys, f, copied)
		case i%2 == 0:
			// a key
		case isCopy(n, keys, n.Content[i-1].Value):
			copied(n.Content[i-1], c)
		default:
			visit(c, append(slices.Clip(keys), n.Content[i-1].Value), f, copied)
		}
	}
}
