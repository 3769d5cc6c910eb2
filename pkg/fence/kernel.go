package fence

import "time"

// Kernel stores the tables of a Fence: nftables, or a model of nftables (internal/simulation). A
// Fence makes one call at a time.
type Kernel interface {
	// Transact makes all of the changes, or none. unix.ENOENT means that no change was made,
	// because the tables or a part of them do not exist. After any other error, all changes may
	// have been made, because the answer can be lost.
	Transact(changes ...Change) error
	// Look reads the tables.
	Look() (View, error)
	// Learn finds out how the kernel lists tables that Transact made. From then on, Look compares
	// with that form.
	Learn() error
	// Close closes the connection. The next call opens a new one.
	Close()
}

// Verb is the kind of a Change.
type Verb uint8

const (
	// Make makes all tables, without elements, and replaces existing ones.
	Make Verb = iota
	// Delete deletes the tables, if they exist.
	Delete
	// Empty removes all elements of a slot.
	Empty
	// Enclose fences the addresses in an empty slot, for the duration For.
	Enclose
	// Start starts the timer of an empty slot, with the duration For.
	Start
	// Permit puts a slot in force. Another slot in force ends by its own timer.
	Permit
	// Forbid takes a slot out of force.
	Forbid
)

// Change is one change of a transaction. All verbs except Make and Delete change one slot of one
// gate. Slots and gates count from 0.
type Change struct {
	Verb Verb
	Gate int
	Slot int
	For  time.Duration
}

// View is the content of the tables at one instant.
type View struct {
	// Found: a table of this name exists.
	Found bool
	// Whole: all tables are as Make makes them, except for elements of the gates.
	Whole bool
	// Gates is the content of each gate, if Whole, in each table that guards an address of the
	// gate.
	Gates [][]Contents
}

// Contents is the content of the slots of a gate in one table.
type Contents [slots]Content

// Content is the elements of a slot in one table.
type Content struct{ Fenced, Armed, InForce Elements }

// Elements summarizes the elements of one group in a set.
type Elements struct {
	// Any: there is at least one. Ours: there is one for each address.
	Any, Ours bool
	// Left is the time until the last element ends.
	Left time.Duration
}
