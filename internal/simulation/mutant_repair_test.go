package simulation

import (
	"slices"
	"time"

	fencing "github.com/vipd-io/vipd/pkg/fence"
)

// tamper wraps the kernel's tables.
func tamper(s *dependencies, with func(fencing.Kernel) fencing.Kernel) {
	if f, ok := s.fence.(*nftables); ok {
		f.tables.Kernel = with(f.tables.Kernel)
	}
}

// fenceNotCut keeps a longer ticket in force when a shorter one is armed, which only the cut puts
// in force before its write.
func fenceNotCut(_ *process, s *dependencies) {
	tamper(s, func(k fencing.Kernel) fencing.Kernel { return uncut{k} })
}

type uncut struct{ fencing.Kernel }

func (u uncut) Transact(changes ...fencing.Change) error {
	if changes[0].Verb == fencing.Permit {
		changes = changes[:1]
	}
	return u.Kernel.Transact(changes...)
}

// repairOpens rebuilds the tables after each failed transaction, even if they are intact, and
// closes the fence last if a ticket is in force.
func repairOpens(_ *process, s *dependencies) {
	tamper(s, func(k fencing.Kernel) fencing.Kernel { return &opening{Kernel: k} })
}

type opening struct {
	fencing.Kernel
	failed  bool
	inForce [3]bool
	later   []fencing.Change
}

func (o *opening) Look() (fencing.View, error) {
	v, err := o.Kernel.Look()
	if o.failed {
		v.Whole, v.Gates = false, nil
	}
	return v, err
}

func (o *opening) Transact(changes ...fencing.Change) error {
	makes := changes[0].Verb == fencing.Make
	if makes {
		o.later = nil
		if slices.ContainsFunc(changes, o.opens) {
			changes = slices.DeleteFunc(slices.Clone(changes), o.putOff)
		}
	}
	err := o.Kernel.Transact(changes...)
	for _, c := range changes {
		if !makes && (c.Verb == fencing.Permit || c.Verb == fencing.Forbid || c.Verb == fencing.Empty) {
			o.inForce[c.Slot] = c.Verb == fencing.Permit
		}
	}
	if err == nil && changes[0].Verb == fencing.Permit && o.later != nil {
		err = o.Kernel.Transact(o.later...)
		o.later = nil
	}
	o.failed = err != nil
	return err
}

// opens tells whether a change belongs to a slot that is to be in force again.
func (o *opening) opens(c fencing.Change) bool {
	return c.Verb == fencing.Start && c.For >= time.Millisecond && o.inForce[c.Slot]
}

func (o *opening) putOff(c fencing.Change) bool {
	if c.Verb == fencing.Enclose {
		o.later = append(o.later, c)
	}
	return c.Verb == fencing.Enclose
}
