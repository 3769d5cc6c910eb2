package migrate

import "go.yaml.in/yaml/v3"

// unaliased returns a copy of a tree with the nodes that its aliases and merge keys (<<) stand for. It
// is for reading: edits need the nodes of the text.
func unaliased(n *yaml.Node) *yaml.Node {
	budget := 100_000 // aliases may be nested, also in themselves
	return expand(n, &budget)
}

func expand(n *yaml.Node, budget *int) *yaml.Node {
	if *budget--; *budget < 0 {
		return n
	}
	if n.Kind == yaml.AliasNode {
		return expand(n.Alias, budget)
	}
	out := *n
	out.Content = nil
	for i, c := range n.Content {
		switch {
		case n.Kind != yaml.MappingNode || n.Content[i-i%2].Tag != "!!merge":
			out.Content = append(out.Content, expand(c, budget))
		case i%2 == 1:
			out.Content = append(out.Content, ofMerge(n, expand(c, budget))...)
		}
	}
	return &out
}

// ofMerge returns the keys and values that a merge key adds to a mapping: those of a mapping, or of a
// list of them, which the mapping itself has not.
func ofMerge(into, from *yaml.Node) (out []*yaml.Node) {
	if from.Kind == yaml.SequenceNode {
		for _, c := range from.Content {
			out = append(out, ofMerge(into, c)...)
		}
		return out
	}
	for i := 0; i+1 < len(from.Content); i += 2 {
		if value(into, from.Content[i].Value) == nil {
			out = append(out, from.Content[i], from.Content[i+1])
		}
	}
	return out
}
