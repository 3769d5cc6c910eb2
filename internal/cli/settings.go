package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
)

// addSettings adds the flags of some settings to a command; nil adds all.
func addSettings(cmd *cobra.Command, some []string) {
	for _, s := range config.Settings {
		switch {
		case some != nil && !slices.Contains(some, s.Name):
		case s.Repeat:
			cmd.Flags().StringArray(s.Name, nil, s.Usage)
		default:
			cmd.Flags().String(s.Name, s.Default, s.Usage)
		}
	}
}

// readSettings merges settings: flags take precedence over vipd's environment variables, and
// these over kube-vip's. warnings lists ignored variables of kube-vip.
func readSettings(cmd *cobra.Command, environ []string) (values config.Values, warnings []string, errs []error) {
	values, warnings, errs = config.FromKubeVip(environ)
	own, more := config.FromEnviron(environ)
	errs = append(errs, more...)
	if a, b := values["address"], own["address"]; len(a) > 0 && len(b) > 0 && !slices.Equal(a, b) {
		errs = append(errs, fmt.Errorf("environment variables address=%s and VIPD_ADDRESS=%s contradict each other", a[0], strings.Join(b, ",")))
	}
	maps.Copy(values, own)
	for _, s := range config.Settings {
		f := cmd.Flags().Lookup(s.Name)
		if f == nil || !f.Changed {
			continue
		}
		if repeated, ok := f.Value.(interface{ GetSlice() []string }); ok {
			values[s.Name] = repeated.GetSlice() // GetStringArray drops a single empty value
		} else {
			values[s.Name] = []string{f.Value.String()}
		}
	}
	return values, warnings, errs
}

// readConfig returns the configuration of the daemon.
func readConfig(cmd *cobra.Command, environ []string) (c config.Config, warnings []string, err error) {
	values, warnings, errs := readSettings(cmd, environ)
	if _, set := values["node-name"]; !set {
		name, err := nodeName()
		if err != nil {
			return c, nil, err
		}
		values["node-name"] = []string{name}
	}
	c, err = config.Parse(values)
	return c, warnings, errors.Join(append(errs, err)...)
}

func nodeName() (string, error) {
	if n := os.Getenv("NODE_NAME"); n != "" {
		return n, nil
	}
	n, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("--node-name: missing, and the host name is unavailable: %w", err)
	}
	if n == "" {
		return "", errors.New("--node-name: missing, and the host has no name")
	}
	return strings.ToLower(n), nil // as kubelet does
}
