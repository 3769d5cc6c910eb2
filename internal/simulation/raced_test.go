//go:build race

package simulation

// raced: with the race detector, a scenario takes ten times as long. A few scenarios cover each
// line of the code; more scenarios run without it.
const raced = true
