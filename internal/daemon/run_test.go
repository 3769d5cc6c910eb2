package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/vip"
)

type function = func(context.Context) error

// untilEnd returns err a second after ctx has ended, and notes the end in ended.
func untilEnd(name string, ended *[]string, err error) function {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		*ended = append(*ended, name)
		return err
	}
}

// TestInOrder: the parts outlive the managers, whatever ends them, and no error hides another.
func TestInOrder(t *testing.T) {
	errPart := errors.New("part failed")
	fails := func(context.Context) error { return errPart }
	for name, c := range map[string]struct {
		parts, managers func(ended *[]string) []function
		want            []error
	}{
		"signal": {
			parts:    func(ended *[]string) []function { return []function{untilEnd("part", ended, nil)} },
			managers: func(ended *[]string) []function { return []function{untilEnd("manager", ended, nil)} },
		},
		"part fails, and its manager cannot withdraw": {
			parts:    func(ended *[]string) []function { return []function{untilEnd("part", ended, nil), fails} },
			managers: func(ended *[]string) []function { return []function{untilEnd("manager", ended, vip.ErrNotWithdrawn)} },
			want:     []error{errPart, vip.ErrNotWithdrawn},
		},
		"one manager of two fails, and the other as well": {
			parts: func(ended *[]string) []function { return []function{untilEnd("part", ended, nil)} },
			managers: func(ended *[]string) []function {
				return []function{func(context.Context) error { return vip.ErrTimeout }, untilEnd("manager", ended, vip.ErrNotWithdrawn)}
			},
			want: []error{vip.ErrTimeout, vip.ErrNotWithdrawn},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				var ended []string
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := inOrder(ctx, c.parts(&ended), c.managers(&ended))
				if len(ended) != 2 || ended[0] != "manager" || ended[1] != "part" {
					t.Errorf("ended in the order %v", ended)
				}
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want also %v", err, want)
					}
				}
				if (err == nil) != (c.want == nil) || withdrawn(err) != (c.want == nil) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}
