package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// bootID returns an identifier of this boot of the machine, "" if /proc is hidden. A node in a
// container boots with its network namespace.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b)) + "/" + netNamespace()
}

// machineID returns an identifier of the machine: the UUID of the firmware or hypervisor, which
// vSphere makes anew for a clone, or else machine-id(5), which a clone may share with its template
// and which a pod does not see. The identifier is hashed, as machine-id(5) requires, and "" if
// neither source exists. For clones with the same identifier see election.Self.
func machineID(root string) string {
	for _, path := range []string{"sys/class/dmi/id/product_uuid", "etc/machine-id"} {
		b, err := os.ReadFile(filepath.Join(root, path))
		if id := strings.ToLower(strings.TrimSpace(string(b))); err == nil && id != "" {
			sum := sha256.Sum256([]byte("vipd.io/holder " + id))
			return hex.EncodeToString(sum[:8])
		}
	}
	return ""
}
