package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/pkg/status"
)

// everyNode is what --all -o json writes.
type everyNode struct {
	Schema string `json:"schema"`
	// Nodes are the answers, the node's that was asked first.
	Nodes []oneNode `json:"nodes"`
	// Problems are what the nodes complain of, and what does not fit together;
	// of `vipd status` only.
	Problems []string `json:"problems,omitempty"`
}

// oneNode has a document as it was received, or an error.
type oneNode struct {
	Node    string          `json:"node"`
	Address string          `json:"address"`
	Status  json.RawMessage `json:"status,omitempty"`
	History json.RawMessage `json:"history,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// inOne is the answers as one document.
func inOne(all []answer, path string) everyNode {
	out := everyNode{Schema: status.Schema, Nodes: []oneNode{}}
	for _, a := range all {
		n := oneNode{Node: a.Node, Address: a.Address}
		switch {
		case a.Err != nil:
			n.Error = a.Err.Error()
		case path == historyPath:
			n.History = a.Raw
		default:
			n.Status = a.Raw
		}
		out.Nodes = append(out.Nodes, n)
	}
	if path == statusPath {
		out.Problems = complaints(all)
	}
	return out
}

// encode writes a document as JSON or YAML.
func encode(document any, output string) (string, error) {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		return "", fmt.Errorf("write document: %w", err)
	}
	raw := bytes.TrimSpace(buffer.Bytes())
	if output == "yaml" {
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return "", fmt.Errorf("write document: %w", err)
		}
		// The library escapes control characters; of what is left nothing is needed.
		return strings.Map(func(r rune) rune {
			if r != '\n' && !strconv.IsPrint(r) {
				return '?'
			}
			return r
		}, string(text)), nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return "", fmt.Errorf("write document: %w", err)
	}
	return escaped(indented.String()) + "\n", nil
}

// escaped writes what a terminal might obey as JSON may have it: \u009b. Outside of
// strings there is nothing of that kind.
func escaped(s string) string {
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

// newest leaves the first n changes of a history, and the rest of it as it is.
func newest(raw []byte, n int) (json.RawMessage, error) {
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
