package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/daemon"
	"github.com/vipd-io/vipd/internal/logging"
)

func newRunCommand(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run",
		Aliases: []string{"manager"}, // as kube-vip's command
		Short:   "Hold the address while this node holds the Lease",
		Long: `Campaign for the Lease, and hold the virtual IP address while this node holds
the Lease.

Each flag has an environment variable, such as VIPD_NODE_NAME for --node-name;
the flag takes precedence. kube-vip's variables (address, vip_interface, ...)
also work, so that vipd's image can replace the image of kube-vip.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return config.UsageError{Err: fmt.Errorf("run takes flags only, not %q", args[0])}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	addSettings(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, warnings, err := readConfig(cmd, os.Environ())
		if err != nil {
			return config.UsageError{Err: err}
		}
		sink := logging.NewSink(stderr)
		defer sink.Close()
		log, level, err := logging.New(c, sink)
		if err != nil {
			return err
		}
		defer logging.FollowSignals(level, log)()
		for _, w := range warnings {
			log.Warn("kube-vip setting has no effect", zap.String("setting", w))
		}
		again, release := nextSignal(cmd.Context())
		defer release()
		return daemon.Run(cmd.Context(), daemon.Ends{Now: again}, c, log)
	}
	return cmd
}
