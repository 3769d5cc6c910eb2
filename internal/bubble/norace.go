//go:build !race

package bubble

func oneProcessor() (end func()) { return func() {} }
