package lab

import (
	"context"
	"errors"
	"os"
)

// With builds what a lab needs, starts one while no other runs, and ends it when
// do has returned.
func With(ctx context.Context, opts func(Binaries) Options, do func(*Lab) error) (err error) {
	bin, err := Build(ctx, BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	release, err := Exclusive(ctx)
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
