package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/pkg/doctor"
)

func newExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [ID]",
		Short: "Say more about a check: what it means, how it comes about, how to mend it",
		Long: `Say more about a check: what it means, how it comes about, how to see it, how to
mend it. Without an ID, list the checks, and what people see that leads to them.`,
		Annotations: asks,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{errors.New("explain takes the ID of one check, such as D01")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := contents()
			if len(args) == 1 {
				page, err := doctor.Page(strings.ToUpper(args[0]))
				if err != nil {
					return usageError{err}
				}
				text = page
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// contents lists the checks, and the symptoms that lead to them.
func contents() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tLOOKS AT")
	for _, c := range doctor.Checks {
		fmt.Fprintf(w, "%s\t%s\n", c.ID, c.Title)
	}
	_ = w.Flush() // into memory
	fmt.Fprintln(w, "\nWHAT YOU SEE\tLOOK AT")
	for _, s := range doctor.Symptoms {
		fmt.Fprintf(w, "%s\t%s\n", s.Seen, strings.Join(s.Checks, ", "))
	}
	_ = w.Flush()
	return b.String()
}
