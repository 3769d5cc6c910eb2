package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// StatusFile is where cloud-init records its progress and its errors.
const StatusFile = "/run/cloud-init/status.json"

// EarlyErrors returns the errors that cloud-init recorded in its first two stages, which read the
// metadata and configure the network; later errors are those of kubeadm and the like. The result is
// nil without cloud-init.
func EarlyErrors(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cloud-init status: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return nil, fmt.Errorf("read cloud-init status: %w", err)
	}
	return parseStatus(b)
}

func parseStatus(b []byte) ([]string, error) {
	type stage struct {
		Errors []string `json:"errors"`
	}
	var d struct {
		V1 struct {
			Local stage `json:"init-local"`
			Init  stage `json:"init"`
		} `json:"v1"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("read cloud-init status: %w", err)
	}
	return append(d.V1.Local.Errors, d.V1.Init.Errors...), nil
}
