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

// A Contender is a manager of the VIP that is measured: something that can be
// started on each node. All that is known of it is what can be seen from outside.
type Contender struct {
	Name string
	Note string // how it is set up, for people
	// start starts it on a node as its daemon, in vipd's place.
	start func(n *lab.Node, p Place) error
	// vipd: faults that are vipd's alone can be tried on it.
	vipd bool
}

// Names of the contenders that need no command.
const (
	VipdName            = "vipd"
	KeepalivedName      = "keepalived"
	KeepalivedTunedName = "keepalived-tuned"
)

// DefaultContenders are those that are measured if nothing else is asked for.
var DefaultContenders = []string{VipdName, KeepalivedName, KeepalivedTunedName}

// Vipd is vipd with a lease duration.
func Vipd(lease time.Duration) Contender {
	return Contender{
		Name: VipdName, vipd: true,
		Note:  fmt.Sprintf("as it comes, with a lease of %s", lease),
		start: func(n *lab.Node, _ Place) error { return n.StartVipd("--lease-duration", lease.String()) },
	}
}

// Contenders finds those with the given names, among those that are known and
// those with a command of their own, which come after if they are not named.
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

// A Place is where a daemon runs, as its command line and configuration tell it.
type Place struct {
	Node       string
	Index      int // of the node, from 0
	IP         string
	Peers      list // IPs of the other nodes
	Interface  string
	VIP        string
	Port       int
	Kubeconfig string
	Dir        string // a folder of its own on the node
	Priority   int    // the higher the earlier: 254, 150, 50
}

// list prints as words, and can be ranged over.
type list []string

func (l list) String() string { return strings.Join(l, " ") }

var priorities = []int{254, 150, 50}

// placeOf describes where the contender of that name runs.
func placeOf(l *lab.Lab, n *lab.Node, contender string) Place {
	p := Place{
		Node: n.Name, IP: n.IP.String(), Interface: lab.Interface, VIP: lab.VIP.String(), Port: lab.Port,
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

// ParseCommand reads NAME=COMMAND, a contender that a shell's command starts.
// The command is a template over a Place. It has to stay in the foreground, to
// withdraw and end at SIGTERM, and to put the address on the interface.
func ParseCommand(text string) (Contender, error) {
	name, command, found := strings.Cut(text, "=")
	if !found || name == "" || strings.TrimSpace(command) == "" || strings.ContainsAny(name, "/ |") {
		return Contender{}, fmt.Errorf("bad daemon %q: want NAME=COMMAND", text)
	}
	t, err := template.New(name).Parse(command)
	if err == nil {
		_, err = render(t, Place{Peers: list{""}}) // so that a field that there is not is known by now
	}
	if err != nil {
		return Contender{}, fmt.Errorf("bad daemon %s: %w", name, err)
	}
	return Contender{Name: name, Note: "`" + command + "`", start: func(n *lab.Node, p Place) error {
		line, err := render(t, p)
		if err != nil {
			return err
		}
		// The shell becomes the command, so that signals reach that.
		return n.StartDaemon("/bin/sh", "-c", "exec "+line)
	}}, nil
}

func render(t *template.Template, p Place) (string, error) {
	var out strings.Builder
	err := t.Execute(&out, p)
	return out.String(), err
}
