package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/lab"
)

func newList(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the labs on this machine",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			labs, err := lab.List()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSTATE\tFOLDER")
			for _, l := range labs {
				fmt.Fprintf(w, "%s\t%s\t%s\n", l.Name, state(l), l.Dir)
			}
			return w.Flush()
		},
	}
}

func state(l lab.Info) string {
	switch {
	case l.Kept:
		return "kept"
	case l.Alive:
		return fmt.Sprintf("run by process %d", l.Owner)
	default:
		return "left over"
	}
}
