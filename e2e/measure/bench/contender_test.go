package bench

import (
	"path/filepath"
	"slices"
	"testing"
	"text/template"
	"time"

	"github.com/vipd-io/vipd/internal/goldentest"
)

// place is the place of a daemon in the tests.
var place = Place{
	Node: "n1", Index: 0, IP: "192.168.35.11", Peers: list{"192.168.35.12", "192.168.35.13"}, Interface: "eth0",
	VIP: "192.168.35.100", Port: 6443, Kubeconfig: "/lab/n1/admin.conf", Dir: "/lab/n1/keepalived", Priority: 254,
}

func TestKeepalivedConfig(t *testing.T) {
	backup := place
	backup.Node, backup.Index, backup.IP, backup.Priority = "n2", 1, "192.168.35.12", 150
	backup.Peers = list{"192.168.35.11", "192.168.35.13"}
	for _, variant := range []string{"default", "tuned"} {
		for _, p := range []Place{place, backup} {
			files, err := keepalivedConfig(variant, p)
			if err != nil {
				t.Fatal(err)
			}
			goldentest.Fresh(t, filepath.Join("testdata", variant+"-"+p.Node+".conf"), files["keepalived.conf"])
			goldentest.Fresh(t, filepath.Join("testdata", variant+".sh"), files["check_apiserver.sh"])
		}
	}
	if files, err := keepalivedConfig("none", place); err == nil {
		t.Errorf("a variant that there is not: %v", files)
	}
}

func TestParseCommand(t *testing.T) {
	for _, text := range []string{
		"", "ucarp", "=ucarp", "ucarp=", "ucarp= ", "a/b=c", "a b=c", "a|b=c", "ucarp={{.Node", "ucarp={{.Nod}}", "ucarp={{template \"x\"}}",
	} {
		if c, err := ParseCommand(text); err == nil {
			t.Errorf("%q is %q", text, c.Name)
		}
	}
	c, err := ParseCommand("ucarp=ucarp -i {{.Interface}} --key=value")
	if err != nil || c.Name != "ucarp" || c.vipd || c.start == nil {
		t.Errorf("contender %+v, %v", c, err)
	}
}

func TestRender(t *testing.T) {
	const fields = "{{.Node}} {{.Index}} {{.IP}} {{.Peers}} {{.Interface}} {{.VIP}} {{.Port}} {{.Kubeconfig}} {{.Dir}} {{.Priority}}"
	const want = "n1 0 192.168.35.11 192.168.35.12 192.168.35.13 eth0 192.168.35.100 6443 /lab/n1/admin.conf /lab/n1/keepalived 254"
	got, err := render(template.Must(template.New("").Parse(fields)), place)
	if err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestContenders(t *testing.T) {
	mine := Contender{Name: "mine"}
	tests := []struct {
		name     string
		names    []string
		commands []Contender
		want     []string // nil for an error
	}{
		{"default", DefaultContenders, nil, []string{"vipd", "keepalived", "keepalived-tuned"}},
		{"in the order asked for", []string{"keepalived", "vipd"}, nil, []string{"keepalived", "vipd"}},
		{"with a command", []string{"vipd"}, []Contender{mine}, []string{"vipd", "mine"}},
		{"with a command, named", []string{"mine", "vipd"}, []Contender{mine}, []string{"mine", "vipd"}},
		{"a command alone", nil, []Contender{mine}, []string{"mine"}},
		{"unknown", []string{"kube-vip"}, nil, nil},
		{"twice", []string{"vipd", "vipd"}, nil, nil},
		{"a name that is taken", []string{"vipd"}, []Contender{{Name: "keepalived"}}, nil},
		{"two commands of one name", nil, []Contender{mine, mine}, nil},
		{"nobody", nil, nil, nil},
	}
	for _, tt := range tests {
		found, err := Contenders(tt.names, tt.commands, time.Second)
		var got []string
		for _, c := range found {
			got = append(got, c.Name)
		}
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestFaults(t *testing.T) {
	all, err := Faults([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, f := range all {
		if seen[f.Name] || f.Title == "" || (f.inject == nil) == (f.only == nil) {
			t.Errorf("%s: twice, without a title, or nothing to inject", f.Name)
		}
		seen[f.Name] = true
	}
	usual, err := Faults(nil)
	if err != nil || len(usual) != len(shared)+len(vipdsTitles) {
		t.Errorf("%d faults, %v, want the shared and %d of vipd's", len(usual), err, len(vipdsTitles))
	}
	two, err := Faults([]string{"apikill", "sigterm"})
	if err != nil || len(two) != 2 || two[0].Name != "apikill" || two[0].only != nil {
		t.Errorf("faults %+v, %v", two, err)
	}
	if got, err := Faults([]string{"sigterm", "sigtrem"}); err == nil {
		t.Errorf("faults %+v", got)
	}
}
