package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor"
)

func newExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [ID]",
		Short: "Explain a check: meaning, causes, diagnosis, fix",
		Long: `Explain a check: its meaning, causes, diagnosis and fix. Without an ID, list
the checks, and symptoms with the checks that find their causes.`,
		Annotations: askExits,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return config.UsageError{Err: errors.New("explain takes the ID of one check, such as D01")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := renderChecks(newScreen(cmd.OutOrStdout(), "auto").page())
			if len(args) == 1 {
				page, err := doctor.Page(strings.ToUpper(args[0]))
				if err != nil {
					return config.UsageError{Err: err}
				}
				text = page
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// renderChecks lists the checks, and the symptoms with their checks.
func renderChecks(p *page) string {
	checks, symptoms := [][]cell{head("CHECK", "SUBJECT")}, [][]cell{head("CHECKS", "SYMPTOM")}
	for _, c := range doctor.Checks {
		checks = append(checks, []cell{{c.ID, plain}, {c.Title, plain}})
	}
	for _, s := range doctor.Symptoms {
		symptoms = append(symptoms, []cell{{strings.Join(s.Checks, " "), plain}, {s.Seen, plain}})
	}
	p.table(checks)
	p.gap()
	p.table(symptoms)
	return p.b.String()
}
