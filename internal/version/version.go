// Package version provides the version of vipd.
package version

import (
	"runtime/debug"
	"strings"
)

// version is set by the Makefile from git.
var version = ""

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

// Tag returns the version as the tag of an image: `make image` uses the same.
func Tag() string { return tag(String()) }

// tag replaces what a tag may not have: the "+" of a build of changed sources, and the parentheses
// of "(devel)".
func tag(version string) string {
	return strings.ReplaceAll(strings.Trim(version, "()"), "+", "-")
}
