// Package ask reads the status documents of one vipd, or of all that one vipd knows.
package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/internal/printable"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/version"
)

const (
	// Timeout bounds the request to one node, and the concurrent requests to all others, unless the
	// caller sets a deadline.
	Timeout = 2 * time.Second
	// MaxAnswer is the maximum size of an answer in bytes, far above that of any vipd.
	MaxAnswer = 1 << 20
)

// asker requests the documents. Each connection ends with its answer, and no proxy is used, because
// the targets are this machine and its neighbours. The dialer has its own timeout: http.Transport
// goes on dialling after the caller has given up, for 127 s if nothing answers.
var asker = http.Client{
	Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: (&net.Dialer{Timeout: Timeout}).DialContext},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Document requests one document, decodes it into the given value with unprintable characters
// replaced, and returns its bytes. The error is a NoAnswer if there was no answer.
func Document(ctx context.Context, address, path string, into any) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Timeout)
		defer cancel()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := asker.Do(request)
	if err != nil {
		return nil, askError(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answers %d to GET %s: another program than vipd has the port, or a vipd without a status", answer.StatusCode, path)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, askError(err)
	case len(body) > MaxAnswer:
		return nil, fmt.Errorf("answers GET %s with more than %d bytes: another program than vipd has the port", path, MaxAnswer)
	}
	return body, understand(body, path, into)
}

// NoAnswer is the error if there was no answer at all. Refused tells that the machine refused the
// connection: nothing listens there.
type NoAnswer struct {
	Cause   error
	Refused bool
}

func (e NoAnswer) Error() string { return e.Cause.Error() }

func (e NoAnswer) Unwrap() error { return e.Cause }

// askError shortens an error of net/http: the caller prints the address already.
func askError(err error) error {
	var inner interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return NoAnswer{errors.New("connection refused"), true}
	case errors.As(err, &inner) && inner.Timeout():
		return NoAnswer{fmt.Errorf("no answer within %s", Timeout), false}
	}
	return NoAnswer{errors.New(printable.String(err.Error())), false} // the error may quote received bytes
}

// understand decodes a document of the known schema.
func understand(body []byte, path string, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return fmt.Errorf("answers GET %s with something other than JSON: another program than vipd has the port", path)
	}
	clean, err := json.Marshal(allPrintable(document))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	var head struct{ Schema, Version string }
	if err := json.Unmarshal(clean, &head); err != nil || head.Schema == "" {
		return fmt.Errorf("answers GET %s with a document that has no schema: another program than vipd has the port", path)
	}
	if head.Schema != status.Schema {
		of := ""
		if head.Version != "" {
			of = ", of vipd " + head.Version
		}
		return fmt.Errorf("answers in schema %s%s; this one, vipd %s, knows %s: use the vipd of that node", head.Schema, of, version.String(), status.Schema)
	}
	if err := json.Unmarshal(clean, into); err != nil {
		return fmt.Errorf("answers GET %s with a document that is no %s: %s", path, status.Schema, printable.String(err.Error()))
	}
	return nil
}

// allPrintable makes all strings of a document printable.
func allPrintable(v any) any {
	switch v := v.(type) {
	case string:
		return printable.String(v)
	case []any:
		for i := range v {
			v[i] = allPrintable(v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for k, e := range v {
			clean[printable.String(k)] = allPrintable(e)
		}
		return clean
	}
	return v
}

// Reachable returns the address at which to reach a vipd that listens on the given one: loopback
// for a vipd that listens on all addresses.
func Reachable(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return listens
	}
	switch a, err := netip.ParseAddr(host); {
	case host == "" || err == nil && a.IsUnspecified() && a.Is4():
		host = "127.0.0.1"
	case err == nil && a.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
