package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/config"
)

// addSettings gives a command the flags of some settings, nil for all.
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

// readSettings puts a command's flags over environment variables.
func readSettings(cmd *cobra.Command, environ []string) (config.Values, []error) {
	values, errs := config.FromEnviron(environ)
	for _, s := range config.Settings {
		f := cmd.Flags().Lookup(s.Name)
		if f == nil || !f.Changed {
			continue
		}
		if repeated, ok := f.Value.(interface{ GetSlice() []string }); ok {
			values[s.Name] = repeated.GetSlice() // GetStringArray takes one empty value for none
		} else {
			values[s.Name] = []string{f.Value.String()}
		}
	}
	return values, errs
}

// readConfig is readSettings and what the daemon needs beside them.
func readConfig(cmd *cobra.Command, environ []string) (config.Config, error) {
	values, errs := readSettings(cmd, environ)
	if _, set := values["node-name"]; !set {
		name, err := nodeName()
		if err != nil {
			return config.Config{}, err
		}
		values["node-name"] = []string{name}
	}
	c, err := config.Parse(values)
	return c, errors.Join(append(errs, err)...)
}

func nodeName() (string, error) {
	if n := os.Getenv("NODE_NAME"); n != "" {
		return n, nil
	}
	n, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("--node-name: not given, and the host's name is not to be had: %w", err)
	}
	if n == "" {
		return "", errors.New("--node-name: not given, and the host has no name")
	}
	return strings.ToLower(n), nil // as kubelet does
}
