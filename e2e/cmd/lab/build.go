package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/lab"
)

func newBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build what a lab runs: etcd and Kubernetes (once, minutes) and vipd",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := lab.Build(cmd.Context(), lab.BuildOptions{Progress: os.Stderr, Kubelet: true})
			return err
		},
	}
}
