// Package version provides the version of vipd.
package version

import (
	"runtime/debug"
)

// version is set by the Makefile from git.
var version = ""

// Released returns the version that the Makefile set, "" for a plain build.
func Released() string { return version }

// String returns the version, or for a plain build the version from the build information,
// "unknown" without any.
func String() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
