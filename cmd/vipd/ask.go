package main

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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/pkg/status"
)

const (
	// askTimeout bounds the asking of one node, and of all others at once.
	askTimeout = 2 * time.Second
	// maxAnswer is far above what a vipd answers.
	maxAnswer = 1 << 20
)

// asker asks vipds for documents. Each connection ends with its answer, and no proxy
// is used: what it asks are this machine and its neighbours.
var asker = http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask gets one document: its bytes, and what is in it, fit to be shown.
func ask(ctx context.Context, address, path string, into any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
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
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, askError(err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("answers GET %s with more than %d bytes: another program than vipd has the port", path, maxAnswer)
	}
	return body, understand(body, path, into)
}

// noAnswer is an error by which nothing is known of what is there. refused: the machine
// is there, and nobody listens.
type noAnswer struct {
	error
	refused bool
}

// askError says it in few words: the address stands beside it already.
func askError(err error) error {
	var inner interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return noAnswer{errors.New("connection refused"), true}
	case errors.As(err, &inner) && inner.Timeout():
		return noAnswer{fmt.Errorf("no answer within %s", askTimeout), false}
	}
	return noAnswer{errors.New(printable(err.Error())), false} // it may cite what was received
}

// understand takes a document apart, if it is of the schema that this vipd knows.
func understand(body []byte, path string, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return fmt.Errorf("answers GET %s with something else than JSON: another program than vipd has the port", path)
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
		return fmt.Errorf("answers in schema %s%s; this one, vipd %s, knows %s: use the vipd of that node", head.Schema, of, versionString(), status.Schema)
	}
	if err := json.Unmarshal(clean, into); err != nil {
		return fmt.Errorf("answers GET %s with a document that is no %s: %s", path, status.Schema, printable(err.Error()))
	}
	return nil
}

// allPrintable makes the strings of a document printable.
func allPrintable(v any) any {
	switch v := v.(type) {
	case string:
		return printable(v)
	case []any:
		for i := range v {
			v[i] = allPrintable(v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for k, e := range v {
			clean[printable(k)] = allPrintable(e)
		}
		return clean
	}
	return v
}

// printable writes what a terminal might obey as Go does in a string: \x1b.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// reachable is where to ask a vipd that listens there: on all addresses is on
// loopback, too.
func reachable(listens string) string {
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
