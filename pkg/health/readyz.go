package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// read interprets an answer to /readyz, or its absence.
//
// A server that is not ready answers 500 and lists its checks, a failed one as "[-]NAME failed:
// reason withheld" (k8s.io/apiserver/pkg/server/healthz). A server that was told to stop first
// fails the check "shutdown", and goes on serving for --shutdown-delay-duration.
func read(status int, body string, known bool, err error) (finding, string) {
	switch {
	case !known:
		return notProbed, ""
	case errors.Is(err, unix.ECONNREFUSED):
		return refused, "nobody listens"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return silent, "it does not answer"
	case err != nil:
		return unclear, err.Error()
	case status == http.StatusOK:
		return good, ""
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return denied, ""
	case status == http.StatusTooManyRequests:
		return busy, fmt.Sprintf("it answers %d %s", status, http.StatusText(status))
	}
	failed := failedChecks(body)
	switch {
	case slices.Contains(failed, "shutdown"):
		return leaving, "it is shutting down"
	case len(failed) > 0:
		return failing, "it says that it is not ready: " + strings.Join(failed, ", ")
	}
	return unclear, fmt.Sprintf("it answers %d %s", status, http.StatusText(status))
}

// maxChecks bounds how many failed checks are reported.
const maxChecks = 5

func failedChecks(body string) []string {
	var out []string
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, "[-]")
		name, _, named := strings.Cut(rest, " failed")
		if ok && named && len(out) < maxChecks && len(name) < 100 {
			out = append(out, name)
		}
	}
	return out
}
