package bench

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
)

// A Contender is a manager of the VIP that can be started on each node. Only what is visible from
// outside is known of it.
type Contender struct {
	Name string
	Note string // its configuration, for people
	// start starts the contender on a node, in vipd's place.
	start func(n *lab.Node, p Place) error
	// vipd tells that the contender is vipd, to which vipd's own faults apply.
	vipd bool
}

// Names of the contenders without a command.
const (
	VipdName            = "vipd"
	KeepalivedName      = "keepalived"
	KeepalivedTunedName = "keepalived-tuned"
)

// DefaultContenders are the contenders that are measured by default.
var DefaultContenders = []string{VipdName, KeepalivedName, KeepalivedTunedName}

// Vipd returns vipd with a lease duration.
func Vipd(lease time.Duration) Contender {
	return Contender{
		Name: VipdName, vipd: true,
		Note:  fmt.Sprintf("as it comes, with a lease of %s", lease),
		start: func(n *lab.Node, _ Place) error { return n.StartVipd("--lease-duration", lease.String()) },
	}
}

// Contenders returns the contenders with the given names, and after them the ones with a command
// that were not named. The error means that a name is unknown, or used twice.
func Contenders(names []string, commands []Contender, lease time.Duration) ([]Contender, error) {
	known := append([]Contender{Vipd(lease), Keepalived(), KeepalivedTuned()}, commands...)
	byName := make(map[string]Contender)
	for _, c := range known {
		if _, taken := byName[c.Name]; taken {
			return nil, fmt.Errorf("contender %s: the name is taken", c.Name)
		}
		byName[c.Name] = c
	}
	var out []Contender
	take := func(name string) error {
		c, ok := byName[name]
		if !ok {
			return fmt.Errorf("no contender %q, or named twice", name)
		}
		delete(byName, name)
		out = append(out, c)
		return nil
	}
	for _, name := range names {
		if err := take(name); err != nil {
			return nil, err
		}
	}
	for _, c := range commands {
		if _, left := byName[c.Name]; left {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no contender")
	}
	return out, nil
}

// A Place is the node of a daemon, as data for its command line and configuration.
type Place struct {
	Node       string
	Index      int // of the node, from 0
	IP         string
	Peers      list // IPs of the other nodes
	Interface  string
	VIP        string
	Port       int
	Kubeconfig string
	Dir        string // its own folder on the node
	Priority   int    // higher ones take over first: 254, 150, 50
}

// list is printed as words, and can be ranged over.
type list []string

func (l list) String() string { return strings.Join(l, " ") }

var priorities = []int{254, 150, 50}

// placeOf returns the place of a contender on a node.
func placeOf(l *lab.Lab, n *lab.Node, contender string) Place {
	p := Place{
		Node: n.Name, IP: n.IP.String(), Interface: lab.Interface, VIP: l.VIP.String(), Port: lab.Port,
		Kubeconfig: n.Kubeconfig(), Dir: filepath.Join(n.Dir, contender),
	}
	for i, other := range l.Nodes {
		if other == n {
			p.Index, p.Priority = i, priorities[i]
		} else {
			p.Peers = append(p.Peers, other.IP.String())
		}
	}
	return p
}

// ParseCommand parses NAME=COMMAND, a contender that a shell command starts. The command is a
// template over a Place. It has to stay in the foreground, to withdraw and end at SIGTERM, and to
// add the address to the interface.
func ParseCommand(text string) (Contender, error) {
	name, command, found := strings.Cut(text, "=")
	if !found || name == "" || strings.TrimSpace(command) == "" || strings.ContainsAny(name, "/ |") {
		return Contender{}, fmt.Errorf("bad daemon %q: want NAME=COMMAND", text)
	}
	t, err := template.New(name).Parse(command)
	if err == nil {
		_, err = render(t, Place{Peers: list{""}}) // detects unknown fields
	}
	if err != nil {
		return Contender{}, fmt.Errorf("bad daemon %s: %w", name, err)
	}
	return Contender{Name: name, Note: "`" + command + "`", start: func(n *lab.Node, p Place) error {
		line, err := render(t, p)
		if err != nil {
			return err
		}
		// The shell is replaced by the command, so that the command gets signals.
		return n.StartDaemon("/bin/sh", "-c", "exec "+line)
	}}, nil
}

func render(t *template.Template, p Place) (string, error) {
	var out strings.Builder
	err := t.Execute(&out, p)
	return out.String(), err
}
