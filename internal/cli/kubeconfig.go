package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/credentials"
	"github.com/vipd-io/vipd/internal/keeper"
	"github.com/vipd-io/vipd/internal/logging"
	"github.com/vipd-io/vipd/internal/manifest"
)

func newKubeconfigCommand(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Create and renew vipd's own credentials with the cluster's CA",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return config.UsageError{Err: errors.New("command missing; `vipd kubeconfig --help` lists the commands")}
		},
	}
	cmd.AddCommand(newKeepCommand(stderr), newRenewCommand())
	return cmd
}

// keeperFlags adds the flags of both commands.
func keeperFlags(cmd *cobra.Command, k *keeper.Keeper) {
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&k.PKI, "pki", manifest.DefaultPKI, "folder of the CA: kubeadm's, or server/tls of RKE2 and k3s")
	cmd.Flags().StringVar(&k.Out, "out", manifest.Kubeconfig, "kubeconfig to write")
}

// prepare evaluates the flags and the environment.
func prepare(cmd *cobra.Command, k *keeper.Keeper) error {
	values, _, errs := readSettings(cmd, os.Environ())
	values["kubeconfig"] = []string{k.Out}
	c, err := config.ParseClient(values)
	if err := errors.Join(append(errs, err)...); err != nil {
		return config.UsageError{Err: err}
	}
	k.Config, k.Now = c, keeper.WallClock
	k.Node, err = nodeName()
	return err
}

func newRenewCommand() *cobra.Command {
	k := &keeper.Keeper{Log: zap.NewNop()}
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Create a new kubeconfig now",
		Long: `Create a new kubeconfig now, and overwrite an existing one. vipd reloads the
kubeconfig without a restart. The pod does this automatically (vipd kubeconfig
keep).`,
		Args: cobra.NoArgs,
	}
	keeperFlags(cmd, k)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := prepare(cmd, k); err != nil {
			return err
		}
		ca, err := credentials.LoadCA(k.PKI)
		if err != nil {
			return err
		}
		if err := k.Write(ca); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, for %s\n", k.Out, k.Subject().Name, keeper.CertificateLife)
		return nil
	}
	return cmd
}

func newKeepCommand(stderr io.Writer) *cobra.Command {
	k := &keeper.Keeper{}
	cmd := &cobra.Command{
		Use:   "keep",
		Short: "Keep a valid kubeconfig with permissions for the Lease only",
		Long: `Issue a client certificate of group ` + manifest.Group + ` with the cluster's CA,
and renew the certificate before its end or when the CA changes. If the API
server does not let the certificate read the Lease, the Role and the
RoleBinding are missing: the command applies them once, with a certificate of
system:masters that is valid for ten minutes and is never stored.

The command runs in a separate container beside vipd's container, which cannot
read the CA.`,
		Args: cobra.NoArgs,
	}
	keeperFlags(cmd, k)
	cmd.Flags().BoolVar(&k.RBAC, "rbac", true, "apply the RBAC if it is missing")
	addSettings(cmd, []string{"port", "apiserver", "lease-namespace", "lease-name"})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := prepare(cmd, k); err != nil {
			return err
		}
		return keep(cmd.Context(), k, stderr)
	}
	return cmd
}

func keep(ctx context.Context, k *keeper.Keeper, stderr io.Writer) error {
	sink := logging.NewSink(stderr)
	defer sink.Close()
	log, _, err := logging.New(config.Config{LogFormat: "json", LogLevel: "info"}, sink)
	if err != nil {
		return err
	}
	k.Log = log.Named("credentials")
	return k.Run(ctx)
}
