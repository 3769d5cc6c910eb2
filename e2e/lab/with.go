package lab

import (
	"context"
	"errors"
	"os"
)

// With builds what a lab needs, starts a lab while no other one runs, and ends it when do has
// returned.
func With(ctx context.Context, opts func(Binaries) Options, do func(*Lab) error) error {
	return with(ctx, Exclusive, opts, do)
}

// WithBeside does what With does, for labs that may run beside others: see Beside.
func WithBeside(ctx context.Context, opts func(Binaries) Options, do func(*Lab) error) error {
	return with(ctx, Beside, opts, do)
}

func with(ctx context.Context, turn func(context.Context) (func(), error), opts func(Binaries) Options, do func(*Lab) error) (err error) {
	bin, err := Build(ctx, BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	release, err := turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	l, err := Start(ctx, opts(bin))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return do(l)
}
