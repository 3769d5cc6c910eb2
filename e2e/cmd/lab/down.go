package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/e2e/lab"
)

func newDown(out io.Writer) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down [NAME...]",
		Short: "End labs by name",
		RunE: func(_ *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return errors.New("want the name of a lab, or --all (`lab list` shows them)")
			}
			if all {
				labs, err := lab.List()
				if err != nil {
					return err
				}
				for _, l := range labs {
					names = append(names, l.Name)
				}
			}
			var errs []error
			for _, name := range names {
				if err := lab.Remove(name); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(out, "lab %s has ended\n", name)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all labs on this machine, also those of other processes")
	return cmd
}
