package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/status"
)

// answers is the document of --all -o json.
type answers struct {
	Schema string `json:"schema"`
	// Nodes are the answers. The node at --status-address comes first.
	Nodes []answer `json:"nodes"`
	// Problems are the problems and mismatches; of `vipd status` only.
	Problems []string `json:"problems,omitempty"`
}

// answer holds a document as received, or an error.
type answer struct {
	Node    string          `json:"node"`
	Address string          `json:"address"`
	Status  json.RawMessage `json:"status,omitempty"`
	History json.RawMessage `json:"history,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// combine returns the answers as one document.
func combine(all []ask.Answer, path string) answers {
	out := answers{Schema: status.Schema, Nodes: []answer{}}
	for _, a := range all {
		n := answer{Node: a.Node, Address: a.Address}
		switch {
		case a.Err != nil:
			n.Error = a.Err.Error()
		case path == ask.HistoryPath:
			n.History = a.Raw
		default:
			n.Status = a.Raw
		}
		out.Nodes = append(out.Nodes, n)
	}
	if path == ask.StatusPath {
		out.Problems = allProblems(all)
	}
	return out
}

// encode encodes a document as JSON or YAML.
func encode(document any, output string) (string, error) {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		return "", fmt.Errorf("encode document: %w", err)
	}
	raw := bytes.TrimSpace(buffer.Bytes())
	if output == "yaml" {
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return "", fmt.Errorf("encode document: %w", err)
		}
		// The library escapes control characters. Other unprintable characters are replaced.
		return strings.Map(func(r rune) rune {
			if r != '\n' && !strconv.IsPrint(r) {
				return '?'
			}
			return r
		}, string(text)), nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return "", fmt.Errorf("encode document: %w", err)
	}
	return escapeJSON(indented.String()) + "\n", nil
}

// escapeJSON escapes unprintable characters, which a terminal may interpret: \u009b. These occur
// inside of strings only.
func escapeJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// truncateHistory keeps the first n changes of a history, and all other fields.
func truncateHistory(raw []byte, n int) (json.RawMessage, error) {
	var changes struct {
		Changes []json.RawMessage `json:"changes"`
	}
	all := make(map[string]json.RawMessage)
	if err := json.Unmarshal(raw, &changes); err != nil {
		return nil, err
	}
	if len(changes.Changes) <= n {
		return raw, nil
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	var err error
	if all["changes"], err = json.Marshal(changes.Changes[:n]); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}
