package status

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// settled bounds the wait for a healthy status: a conflict of an earlier test is reported for a
// minute.
const settled = 100 * time.Second

// healthy waits until `vipd status --all` on a node ends with status 0, and returns its output.
func healthy(t *testing.T, on *lab.Node) (text string) {
	t.Helper()
	var last error
	began := time.Now()
	must(t, wait.Until(t.Context(), 100*time.Millisecond, func() (bool, error) {
		text, last = on.Run(t.Context(), on.VipdBinary(), "status", "--all")
		if last != nil && time.Since(began) > settled {
			return false, last
		}
		return last == nil, nil
	}))
	return text
}

// shows checks for the row of the holder, and for the rows of the two other nodes.
func shows(t *testing.T, text, holder string) {
	t.Helper()
	rows := regexp.MustCompile(`(?m)^(n\d) +(\w+) +(n\d) +\d+ +\d+\.\d s +(open|closed) +ready `).FindAllStringSubmatch(text, -1)
	if len(rows) != 3 || !regexp.MustCompile(`(?m)^Holder +`+holder+` since `).MatchString(text) {
		t.Fatalf("want %s to hold, and three rows:\n%s", holder, text)
	}
	for _, r := range rows {
		want := []string{"standby", holder, "closed"}
		if r[1] == holder {
			want = []string{"holding", holder, "open"}
		}
		if r[2] != want[0] || r[3] != want[1] || r[4] != want[2] {
			t.Errorf("%s is %v, want %v", r[1], r[2:], want)
		}
	}
}

// TestStatusCommand requests the status of real vipds, before and after a move.
func TestStatusCommand(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	asked, next := other(holder), other(holder)
	for _, n := range shared.Nodes {
		if n != holder && n != asked {
			next = n
		}
	}
	shows(t, healthy(t, asked), holder.Name)

	_, err = asked.Run(t.Context(), asked.VipdBinary(), "move", "--kubeconfig", asked.Kubeconfig(), "--to", next.Name)
	must(t, err)
	text := healthy(t, asked)
	shows(t, text, next.Name)
	t.Log("\n" + text)

	for _, test := range []struct {
		on   *lab.Node
		args []string
		want string
	}{
		{next, []string{"history"}, `taken  holder ` + next.Name},
		{asked, []string{"history"}, `moved  holder ` + next.Name},
		{asked, []string{"history", "--all"}, next.Name + `  taken  holder ` + next.Name},
		{holder, []string{"status"}, `(?m)^\S+ +left +`},
	} {
		text, err := test.on.Run(t.Context(), append([]string{test.on.VipdBinary()}, test.args...)...)
		if err != nil || !regexp.MustCompile(test.want).MatchString(text) {
			t.Errorf("vipd %s on %s: %v, want %s in\n%s", strings.Join(test.args, " "), test.on.Name, err, test.want, text)
		}
		t.Log("\n" + text)
	}
}

// other returns another node.
func other(than *lab.Node) *lab.Node {
	if n := shared.Nodes[0]; n != than {
		return n
	}
	return shared.Nodes[1]
}
