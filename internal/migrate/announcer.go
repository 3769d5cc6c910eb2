package migrate

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A kube-vip that announces Services only is none that vipd replaces. It stays, and with it what it
// needs.

// mayHold matches arguments with which kube-vip may hold the control plane's address without the
// variable cp_enable.
var mayHold = regexp.MustCompile(`^--(?:controlplane(?:=(?:1|[tT]|true|TRUE|True))?|config-file(?:=.*)?)$`)

// announcesServices tells whether kube-vip announces Services only. The error is a Refusal if its
// settings do not tell. A static pod that does not say so is left to mode, which refuses it.
func (r *reader) announcesServices(kind string) (bool, error) {
	cp, _ := r.get("cp_enable")
	if _, known := resolve(cp.value); kind == "Pod" && !known {
		return false, nil // mode takes it for on
	}
	holds, err := r.truth(cp)
	if err != nil || holds {
		return false, err
	}
	if cp.value == "" { // a variable takes precedence over arguments and a file
		words, err := r.words()
		if at := slices.IndexFunc(words, func(n *yaml.Node) bool { return mayHold.MatchString(str(n)) }); at >= 0 {
			return false, r.refuse(words[at], "cp_enable is not set, and with the argument "+str(words[at])+" kube-vip may hold the address of the control plane",
				"write cp_enable as a variable (env), true or false, without the argument, and migrate again")
		}
		if err != nil {
			return false, err
		}
		if v, _ := r.get("config_file"); v.value != "" {
			return false, r.refuse(v.node, "cp_enable is not set, and the file "+v.value+" may set it", "write cp_enable as a variable (env), true or false, and migrate again")
		}
	}
	services, err := r.on("svc_enable")
	if err != nil || !services && kind == "Pod" {
		return false, err
	}
	text := "this " + kind + " of kube-vip announces Services only, and was not changed: it does not use vipd's Lease"
	if !services {
		text = "this " + kind + " of kube-vip holds no address for the control plane, and was not changed"
	}
	if v, _ := r.get("prometheus_server"); v.value == "" || strings.HasSuffix(v.value, ":2112") {
		text += ". It listens on port 2112 of the node, as vipd does: set prometheus_server here, or VIPD_STATUS_ADDRESS in vipd's manifest, to another port"
	}
	r.note(r.line(r.pod.n), text)
	return true, nil
}

// does says what a kube-vip without cp_enable does.
func (r *reader) does() string {
	if on, err := r.on("svc_enable"); err == nil && !on {
		return ", nor does it announce Services"
	}
	return ": it announces Services, which vipd does not"
}

// stays keeps a kube-vip for Services.
func (m *migration) stays(r *reader, raw string) {
	m.kept = true
	m.announcers = append(m.announcers, announcer{r: r, raw: raw})
}

// announcer is a kube-vip for Services that stays, and its source.
type announcer struct {
	r   *reader
	raw string
}

// alone refuses a file whose only kube-vip is a static pod for Services.
func (m *migration) alone() error {
	if len(m.manifests) > 0 || m.vipd || m.byVariable || m.options.replacedElsewhere() {
		return nil
	}
	for _, a := range m.announcers {
		if str(get(a.r.pod.n, "kind")) == "Pod" {
			return a.r.mode()
		}
	}
	return nil
}

// isAnnouncer tells whether a string is the manifest of a kube-vip that stays.
func (m *migration) isAnnouncer(content *yaml.Node) bool {
	return slices.ContainsFunc(m.announcers, func(a announcer) bool { return a.r.pod.job.at == content && content != nil })
}

// needed tells whether a static pod that stays needs a file of the node, or a text is about one.
func (m *migration) needed(name, text string) bool {
	return slices.ContainsFunc(m.announcers, func(a announcer) bool {
		return a.r.pod.file != "" && (name != "" && strings.Contains(a.raw, name) || len(mentioned(text, []string{a.r.pod.file, path.Base(a.r.pod.file)})) > 0)
	})
}
