package bench

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/vipd-io/vipd/e2e/lab"
)

//go:embed keepalived
var keepalivedFiles embed.FS

// Keepalived returns keepalived as configured in kubeadm's documentation.
func Keepalived() Contender {
	return Contender{
		Name: KeepalivedName, start: startKeepalived("default"),
		Note: "as in kubeadm's documentation: VRRP 2, advert_int 1, the API server checked every 3 s, down after 10 failures",
	}
}

// KeepalivedTuned returns keepalived tuned for a fast failover.
func KeepalivedTuned() Contender {
	return Contender{
		Name: KeepalivedTunedName, start: startKeepalived("tuned"),
		Note: "VRRP 3, advert_int 0.1, nopreempt, realtime priority, /readyz checked each second, down after 2 failures",
	}
}

func startKeepalived(variant string) func(*lab.Node, Place) error {
	return func(n *lab.Node, p Place) error {
		files, err := keepalivedConfig(variant, p)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(p.Dir, 0o755); err != nil {
			return fmt.Errorf("make folder for keepalived: %w", err)
		}
		in := func(name string) string { return filepath.Join(p.Dir, name) }
		for name, text := range files {
			mode := os.FileMode(0o644) // keepalived refuses an executable configuration
			if filepath.Ext(name) == ".sh" {
				mode = 0o755
			}
			if err := os.WriteFile(in(name), []byte(text), mode); err != nil {
				return fmt.Errorf("configure keepalived: %w", err)
			}
		}
		// VRRP only, in the foreground, with separate files: three instances run on this machine.
		return n.StartDaemon("keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", in("keepalived.conf"),
			"--pid", in("parent.pid"), "--vrrp_pid", in("vrrp.pid"))
	}
}

// keepalivedConfig returns the files of a variant by name.
func keepalivedConfig(variant string, p Place) (map[string]string, error) {
	files := make(map[string]string)
	for name, source := range map[string]string{"keepalived.conf": variant + ".conf", "check_apiserver.sh": variant + ".sh"} {
		t, err := template.ParseFS(keepalivedFiles, "keepalived/"+source)
		if err != nil {
			return nil, fmt.Errorf("read keepalived's configuration: %w", err)
		}
		if files[name], err = render(t, p); err != nil {
			return nil, fmt.Errorf("write keepalived's configuration: %w", err)
		}
	}
	return files, nil
}
