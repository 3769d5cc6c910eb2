package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/credentials"
	"github.com/vipd-io/vipd/pkg/manifest"
)

const (
	// certificateLife is that of vipd's own: long enough for a control plane that
	// was off over a weekend, or whose credentials container is broken, and short
	// enough to be no lasting secret. It is renewed after two thirds.
	certificateLife = 7 * 24 * time.Hour
	// adminLife is that of the certificate that applies the RBAC. It never leaves
	// the process.
	adminLife = 10 * time.Minute
	// keepRetry is the pause after something that failed.
	keepRetry = time.Second
	// keepLook is how often the kubeconfig is looked at: it may be removed, and the
	// CA may be replaced.
	keepLook = time.Minute
)

func newKubeconfigCommand(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Make and renew vipd's own credentials from the cluster's CA",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("which command? `vipd kubeconfig --help` lists them")}
		},
	}
	cmd.AddCommand(newKeepCommand(stderr), newRenewCommand())
	return cmd
}

// keeper keeps one kubeconfig.
type keeper struct {
	pki, out, node string
	config         config.Config
	rbac           bool
	log            *zap.Logger
	now            func() time.Time
}

func (k *keeper) subject() credentials.Subject {
	return credentials.Subject{Name: "vipd:" + k.node, Group: manifest.Group}
}

// flags are those of both commands.
func (k *keeper) flags(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&k.pki, "pki", manifest.DefaultPKI, "folder with ca.crt and ca.key")
	cmd.Flags().StringVar(&k.out, "out", manifest.Kubeconfig, "kubeconfig to write")
}

// prepare takes in what the flags and the environment say.
func (k *keeper) prepare(cmd *cobra.Command) error {
	values, _, errs := readSettings(cmd, os.Environ())
	values["kubeconfig"] = []string{k.out}
	c, err := config.ParseClient(values)
	if err := errors.Join(append(errs, err)...); err != nil {
		return usageError{err}
	}
	k.config, k.now = c, wallClock
	k.node, err = nodeName()
	return err
}

func newRenewCommand() *cobra.Command {
	k := &keeper{log: zap.NewNop()}
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Make a new kubeconfig now",
		Long: `Make a new kubeconfig now, whatever there is. vipd takes it up by itself; nothing
has to be restarted. The pod does this by itself (vipd kubeconfig keep).`,
		Args: cobra.NoArgs,
	}
	k.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := k.prepare(cmd); err != nil {
			return err
		}
		ca, err := credentials.LoadCA(k.pki)
		if err != nil {
			return err
		}
		if err := k.write(ca); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, for %s\n", k.out, k.subject().Name, certificateLife)
		return nil
	}
	return cmd
}

func newKeepCommand(stderr io.Writer) *cobra.Command {
	k := &keeper{}
	cmd := &cobra.Command{
		Use:   "keep",
		Short: "Keep a kubeconfig that is good for the Lease, and no more",
		Long: `Make a client certificate of group ` + manifest.Group + ` from the cluster's CA, and a new one
before it expires or when the CA is another one. While the API server does not let it read the
Lease, the Role and the binding are missing: they are applied, once, with a certificate of
system:masters that is good for ten minutes and is never written anywhere.

It runs in a container of its own beside vipd's, which does not see the CA.`,
		Args: cobra.NoArgs,
	}
	k.flags(cmd)
	cmd.Flags().BoolVar(&k.rbac, "rbac", true, "apply the RBAC if it is missing")
	addSettings(cmd, []string{"port", "apiserver", "lease-namespace", "lease-name"})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := k.prepare(cmd); err != nil {
			return err
		}
		return keep(cmd.Context(), k, stderr)
	}
	return cmd
}

func keep(ctx context.Context, k *keeper, stderr io.Writer) error {
	sink := newSink(stderr)
	defer sink.Close()
	log, _, err := newLogger(config.Config{LogFormat: "json", LogLevel: "info"}, sink)
	if err != nil {
		return err
	}
	k.log = log.Named("credentials")
	return k.run(ctx)
}

// wallClock is what certificates go by.
func wallClock() time.Time { return time.Now() } //nolint:forbidigo // validity is wall-clock time (RFC 5280, 4.1.2.5)

func (k *keeper) write(ca credentials.CA) error {
	pair, err := ca.Mint(k.subject(), k.now(), certificateLife)
	if err != nil {
		return err
	}
	b, err := credentials.Kubeconfig(ca, pair, k.config.APIServer)
	if err != nil {
		return err
	}
	return credentials.Write(k.out, b)
}

// run keeps it until ctx ends. Nothing that fails ends it: the CA is there when
// kubeadm has written it, the API server when kubelet has started it.
func (k *keeper) run(ctx context.Context) error {
	told := ""
	allowed := !k.rbac
	for {
		pause := keepLook
		err := k.renew()
		if err == nil && !allowed {
			allowed, err = k.allow(ctx)
			if !allowed {
				pause = keepRetry
			}
		}
		if err != nil && ctx.Err() == nil {
			pause = keepRetry
			if text := err.Error(); text != told {
				k.log.Warn("credentials are not ready", zap.Error(err))
				told = text
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// renew writes a new kubeconfig if it is time.
func (k *keeper) renew() error {
	ca, err := credentials.LoadCA(k.pki)
	if err != nil {
		return err
	}
	at, why := credentials.Due(k.out, ca, k.subject())
	if k.now().Before(at) {
		return nil
	}
	if err := k.write(ca); err != nil {
		return err
	}
	if why == "" {
		why = "two thirds of its life are over"
	}
	k.log.Info("kubeconfig written", zap.String("file", k.out), zap.String("reason", why), zap.Duration("life", certificateLife))
	return nil
}
