package config

// UsageError is an error in the flags, in the environment, or in what these name.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

func (e UsageError) Unwrap() error { return e.Err }
