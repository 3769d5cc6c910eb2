package version

import "testing"

func TestTag(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3", "v0.0.0-20261126120000-e6c669f0a1b2+dirty": "v0.0.0-20261126120000-e6c669f0a1b2-dirty", "(devel)": "devel", "unknown": "unknown",
	} {
		if got := tag(version); got != want {
			t.Errorf("tag(%q) = %q, want %q", version, got, want)
		}
	}
}
