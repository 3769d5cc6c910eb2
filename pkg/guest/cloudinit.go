package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// StatusFile is where cloud-init says how far it is, and what went wrong.
const StatusFile = "/run/cloud-init/status.json"

// EarlyErrors are what cloud-init recorded against its first two stages, in which it
// reads the metadata and sets the network up; later ones are of kubeadm and the like. It
// is nil where there is no cloud-init.
func EarlyErrors(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what cloud-init says: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read what cloud-init says: %w", err)
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
		return nil, fmt.Errorf("read what cloud-init says: %w", err)
	}
	return append(d.V1.Local.Errors, d.V1.Init.Errors...), nil
}
