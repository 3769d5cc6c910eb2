package migrate

import (
	"cmp"
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/manifest"
)

// reader converts a kube-vip pod to a vipd pod.
type reader struct {
	*migration
	pod foundPod
	n   *yaml.Node // the container
	env []variable
	out manifest.Pod
	// daemonSet tells that the pod is that of a DaemonSet.
	daemonSet bool
}

// variable is an environment variable.
type variable struct {
	name, value string
	node        *yaml.Node
	known       config.KubeVip
	ok          bool
}

// read converts a kube-vip pod, or a DaemonSet of such pods, to vipd's manifest. kept tells that vipd
// does not replace the pod, and that it stays. raw is the source of the pod.
func (m *migration) read(p foundPod, raw string) (r *reader, kept bool, err error) {
	p.n = unaliased(p.n)
	r = &reader{migration: m, pod: p, n: kubeVipContainer(spec(p.n)), out: manifest.Pod{Image: m.options.Image}}
	if at, reason := unrendered(raw); reason != "" && !p.job.templated {
		return r, false, &Refusal{Line: p.job.fileLine(p.n.Line + at), Reason: reason, Way: rendered}
	}
	if at := quoting.FindStringIndex(raw); at != nil && p.job.templated {
		return r, false, &Refusal{Line: p.job.fileLine(p.n.Line + lineAt(raw, at[0]) - 1), Reason: "this expression writes quotes of its own, which would be within those of vipd's manifest",
			Way: "write the expression without quote, toJson and the like, in quotes: \"{{ .name }}\", and migrate again"}
	}
	if str(get(r.n, "image")) == "" {
		return r, false, p.job.refuse(r.n, "kube-vip's container has no image, so this is only a part of a manifest, such as a patch of kustomize", "migrate the output of `kubectl kustomize`")
	}
	if err := r.variables(); err != nil {
		return r, false, err
	}
	if err := r.oldest(); err != nil {
		return r, false, err
	}
	kind := str(get(p.n, "kind"))
	if services, err := r.announcesServices(kind); err != nil || services {
		return r, services, err
	}
	if kind != "Pod" {
		if r.daemonSet = kind == "DaemonSet"; !r.daemonSet {
			return r, false, p.job.refuse(p.n, "kube-vip runs as a "+kind+" here, which does not run on each control-plane node",
				"use the output of `vipd manifest pod` or `vipd manifest daemonset`, and remove cp_enable from the "+kind)
		}
	}
	for _, step := range []func() error{r.mode, r.arguments, r.place, r.layout, r.settings, r.clients, r.timing, r.credentials, r.valid} {
		if err := step(); err != nil {
			return r, false, err
		}
	}
	r.registry()
	r.others()
	return r, false, nil
}

// yaml returns vipd's manifest.
func (r *reader) yaml() string {
	if !r.daemonSet {
		return r.out.YAML()
	}
	d := manifest.DaemonSet{Pod: r.out}
	for _, s := range r.out.Settings {
		switch s.Name {
		case "lease-namespace":
			d.LeaseNamespace = s.Value
		case "lease-name":
			d.LeaseName = s.Value
		}
	}
	return d.YAML()
}

func (r *reader) line(n *yaml.Node) int { return r.pod.job.fileLine(n.Line) }

func (r *reader) refuse(n *yaml.Node, reason, way string) error {
	return r.pod.job.refuse(n, reason, way)
}

// variables reads the environment.
func (r *reader) variables() error {
	if from := get(r.n, "envFrom"); from != nil {
		return r.refuse(from, "settings come from a ConfigMap or Secret, which a static pod may not have", "write them as env, and migrate again")
	}
	env := get(r.n, "env")
	if env == nil {
		return r.refuse(r.n, "kube-vip has no settings here (env)", "use the output of `vipd manifest pod` with the settings of this kube-vip")
	}
	for _, e := range env.Content {
		v := variable{name: str(get(e, "name")), node: e}
		v.known, v.ok = config.Of(v.name)
		switch value, from := get(e, "value"), get(e, "valueFrom"); {
		case from != nil && v.known.Setting == "node-name":
			continue // vipd's manifest has that setting anyway
		case from != nil:
			return r.refuse(from, v.name+" has no literal value (valueFrom)", "write its value, and migrate again")
		case value != nil && value.Kind != yaml.ScalarNode:
			return r.refuse(value, v.name+" has a value that is not a string", "is this a template? "+rendered)
		case value != nil && value.Tag != "!!null":
			v.value = str(value)
		}
		if strings.Contains(v.value, "$(") && v.known.Setting != "" {
			return r.refuse(e, fmt.Sprintf("%s=%s refers to another variable of the pod, which vipd's pod does not have", v.name, v.value), "write its value, and migrate again")
		}
		r.env = append(r.env, v)
	}
	return nil
}

// get returns a variable; the last one of that name counts, as for kubelet.
func (r *reader) get(name string) (v variable, ok bool) {
	for _, e := range r.env {
		if e.name == name {
			v, ok = e, true
		}
	}
	return v, ok
}

// on reads a boolean. The error is a Refusal if its value is not known.
func (r *reader) on(name string) (bool, error) {
	v, _ := r.get(name)
	return r.truth(v)
}

func (r *reader) truth(v variable) (bool, error) {
	if v.value == "" {
		return false, nil
	}
	value, known := resolve(v.value)
	if !known {
		return false, r.refuse(v.node, fmt.Sprintf("cannot tell from %[2]s whether %[1]s is on", v.name, v.value), "write true or false, and migrate again")
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, r.refuse(v.node, fmt.Sprintf("%s=%s is neither true nor false, so kube-vip does not start with it", v.name, v.value), "write true or false, and migrate again")
	}
	return on, nil
}

var withDefault = regexp.MustCompile(`\$\{\w+(?::?[=-])([^}]*)\}`)

// resolve replaces the placeholders of a value with their defaults; known is false if a placeholder
// has none, or is one that a command on the node replaces.
func resolve(value string) (resolved string, known bool) {
	resolved = withDefault.ReplaceAllStringFunc(value, func(p string) string {
		return strings.Trim(withDefault.FindStringSubmatch(p)[1], `"'`)
	})
	return resolved, !strings.Contains(resolved, "${") && !jinjaSign.MatchString(resolved) && !toReplace.MatchString(resolved)
}

// words returns the words with which the container starts, command and args, without the program
// kube-vip. The error is a Refusal if another program starts.
func (r *reader) words() ([]*yaml.Node, error) {
	for _, key := range []string{"command", "args"} {
		if n := get(r.n, key); n != nil && n.Kind != yaml.SequenceNode && n.Tag != "!!null" {
			return nil, r.refuse(n, key+" is not a list of words here", "write the words, and migrate again")
		}
	}
	command, args := items(get(r.n, "command")), items(get(r.n, "args"))
	if len(command) == 0 {
		return args, nil
	}
	switch program := str(command[0]); path.Base(program) {
	case "kube-vip", "vipd":
		return append(command[1:], args...), nil
	case "sh", "bash", "ash", "dash", "busybox", "env":
		return nil, r.refuse(command[0], "kube-vip starts from a shell or another program ("+program+"), which may change its settings",
			"write the settings as env, let the container start /kube-vip manager, and migrate again")
	default:
		return nil, r.refuse(command[0], "the container starts "+program+", which is not known to be kube-vip",
			"write /kube-vip, if that is what it is, and migrate again")
	}
}

// oldest refuses the form that kube-vip had before v0.3.
func (r *reader) oldest() error {
	words, err := r.words()
	at := slices.IndexFunc(words, func(n *yaml.Node) bool { return str(n) == "start" })
	if err != nil || at < 0 {
		return err
	}
	return r.refuse(words[at], "this is kube-vip's oldest form (start), which holds the address of the control plane only: it elects by the Lease plunder-lock in its first versions, "+
		"and by Raft without vip_leaderelection, so it may not know of vipd, and two nodes would have the address",
		"stop kube-vip on all nodes before the first vipd starts, and use the output of `vipd manifest pod` with the address and the interface of this manifest; "+
			"or bring kube-vip to v0.4 or later first (args manager, cp_enable), and migrate that")
}

// mode refuses everything but a control-plane address in ARP mode.
func (r *reader) mode() error {
	for _, v := range r.env {
		if _, known := resolve(v.value); !v.known.Bool || !known && v.known.Refuse == "" {
			continue
		}
		on, err := r.truth(v)
		if err != nil {
			return err
		}
		if on && v.known.Refuse != "" {
			return r.refuse(v.node, v.name+"="+v.value, v.known.Refuse)
		}
	}
	for _, needed := range []struct{ name, without string }{
		{"vip_arp", "kube-vip does not announce the address here, or not by ARP; vipd uses ARP only"},
		{"cp_enable", "kube-vip holds no address for the control plane here" + r.does()},
	} {
		name := needed.name
		v, ok := r.get(name)
		if _, known := resolve(v.value); ok && !known {
			r.note(r.line(v.node), fmt.Sprintf("%s=%s: assumed to be true, because kube-vip would hold no address otherwise", name, v.value))
			continue
		}
		if on, _ := r.truth(v); !on {
			return r.refuse(r.n, name+is(v.value)+": "+needed.without, "keep this kube-vip, and add vipd with `vipd manifest pod`; or set "+name+" to \"true\" if that is intended")
		}
	}
	if v, _ := r.get("vip_interface"); v.value == "lo" {
		return r.refuse(v.node, "vip_interface=lo: nobody is reached by ARP through the loopback interface", "write the interface in the subnet of the address, and migrate again")
	}
	return nil
}

// clients refuses settings with which clients connect to another port than vipd's, or notes them if
// they are not known.
func (r *reader) clients() error {
	balance, _ := r.get("lb_enable")
	lb, _ := r.get("lb_port")
	port, _ := r.get("port")
	own, knownOwn := resolve(port.value)
	if why := r.out.Distribution.NotAPIServer(own); why != "" {
		return r.refuse(port.node, "port="+port.value+": "+why, "write port 6443, and migrate again")
	}
	enabled, knownEnabled := resolve(balance.value)
	lbPort, knownLB := resolve(lb.value)
	if on, _ := strconv.ParseBool(enabled); knownEnabled && !on || lb.value == port.value {
		return nil // mode has refused what is no boolean
	}
	at := balance
	if lb.node != nil {
		at = lb
	}
	other := config.OtherPort(lbPort, own)
	switch {
	case !knownLB || !knownOwn:
		r.loss(at, fmt.Sprintf("lb_port=%s, port=%s: with lb_enable, clients connect to lb_port of the address; vipd serves the port of the API server only: check that both are the same", or6443(lb.value), or6443(port.value)))
	case other != "" && knownEnabled:
		return r.refuse(at.node, other, "first let clients connect to the API server's port: set lb_port to it, roll kube-vip out, change controlPlaneEndpoint and all kubeconfigs; then migrate")
	case other != "":
		r.loss(at, "if lb_enable="+balance.value+" is on: "+other)
	}
	return nil
}

func or6443(port string) string { return cmp.Or(port, "6443") }

func is(value string) string {
	if value == "" {
		return " is not set"
	}
	return " is " + value
}

// arguments refuses settings that are no variables, and further containers.
func (r *reader) arguments() error {
	for _, c := range append(items(get(spec(r.pod.n), "containers")), items(get(spec(r.pod.n), "initContainers"))...) {
		if c != r.n {
			return r.refuse(c, "the pod has another container, "+str(get(c, "name")), "move that container to another pod, and migrate again")
		}
	}
	words, err := r.words()
	if err != nil {
		return err
	}
	for i := 0; i < len(words); i++ {
		word := str(words[i])
		name, value, inOne := strings.Cut(word, "=")
		if !inOne && i+1 < len(words) {
			value = str(words[i+1])
		}
		switch {
		case name == "manager":
			continue
		case name == "--leaderElectionType" && strings.Contains(value, "etcd"):
			return r.refuse(words[i], "kube-vip uses etcd for its election here; vipd uses a Lease, so the two would not know of each other",
				"stop kube-vip on all nodes before the first vipd starts: write the output of `vipd manifest pod` to "+vipdPath)
		case name == "--prometheusHTTPServer" || name == "--log":
			r.note(r.line(words[i]), name+" removed: vipd has no such argument")
		default:
			return r.refuse(words[i], "argument "+word+" is not known to vipd",
				"use the environment variable of kube-vip instead, or remove the argument, and migrate again")
		}
		if !inOne {
			i++
		}
	}
	return nil
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return slices.Clip(n.Content)
}

// settings translates the environment, and notes what is lost.
func (r *reader) settings() error {
	for _, v := range r.env {
		resolved, known := resolve(v.value)
		switch {
		case !v.ok:
			r.loss(v, fmt.Sprintf("%s=%s: vipd does not know this variable of kube-vip; removed", v.name, v.value))
		case known && v.known.Loss(resolved) != "":
			r.loss(v, v.known.Loss(resolved))
		case !known && len(v.known.Same) > 0:
			r.loss(v, fmt.Sprintf("%s=%s: if this is another prefix length than 32: %s", v.name, v.value, v.known.Lost))
		case !known && v.known.Lost != "":
			r.loss(v, fmt.Sprintf("%s=%s: if this is on: %s", v.name, v.value, v.known.Lost))
		}
		if v.value == "" || v.known.Setting == "" {
			continue
		}
		if err := r.setting(v, resolved); err != nil {
			return err
		}
	}
	if r.out.Address == "" {
		return r.refuse(r.n, "no address: neither address nor vip_address is set", "set address, and migrate again")
	}
	return nil
}

func (r *reader) loss(v variable, text string) {
	r.notes = append(r.notes, Note{Line: r.line(v.node), Loss: true, Text: text})
}

func (r *reader) setting(v variable, resolved string) error {
	if isPlaceholder(v.known.Setting, resolved) {
		r.note(r.line(v.node), fmt.Sprintf("%s=%s: assumed to be a placeholder that is replaced on the node", v.name, v.value))
	}
	switch v.known.Setting {
	case "address":
		if r.out.Address != "" && r.out.Address != v.value {
			return r.refuse(v.node, fmt.Sprintf("two addresses, %s and %s", r.out.Address, v.value), "keep one of address and vip_address, and migrate again")
		}
		r.out.Address = v.value
	case "interface":
		if strings.Contains(resolved, ",") {
			return r.refuse(v.node, fmt.Sprintf("%s=%s is not the name of one interface", v.name, v.value), "write one, or none to choose it by the subnet of the address, and migrate again")
		}
		r.set("interface", v.value)
	case "node-name":
		literal := !isPlaceholder("node-name", resolved) && !placeholder.MatchString(v.value)
		if r.daemonSet || r.pod.job.outer != nil && literal {
			r.note(r.line(v.node), fmt.Sprintf("%s=%s removed: each node would have this name; vipd uses the node's own", v.name, v.value))
			return nil
		}
		r.set("node-name", v.value)
	case "lease-name":
		if namespace, name, ok := strings.Cut(v.value, "/"); ok {
			r.set("lease-namespace", namespace)
			r.set("lease-name", name)
			return nil
		}
		r.set("lease-name", v.value)
	case "lease-namespace":
		if lease, _ := r.get("vip_leasename"); !strings.Contains(lease.value, "/") {
			r.set("lease-namespace", v.value)
		}
	case "status-address":
		r.loss(v, fmt.Sprintf("%s=%s: vipd serves its own status there, without kube-vip's metrics", v.name, v.value))
		r.set("status-address", v.value)
	case "apiserver":
		r.set("apiserver", apiServer(v.value))
	case "lease-duration", "renew-interval", "kubeconfig": // timing, credentials
	default:
		r.set(v.known.Setting, v.value)
	}
	return nil
}

// defaults are defaults of both vipd and kube-vip, which need not be written.
var defaults = map[string]string{"port": "6443", "lease-namespace": "kube-system", "lease-name": "plndr-cp-lock", "apiserver": "127.0.0.1:6443"}

func (r *reader) set(name, value string) {
	if value == "" || defaults[name] == value {
		return
	}
	r.out.Settings = append(r.out.Settings, manifest.Setting{Name: name, Value: value})
}

// apiServer converts kube-vip's kubernetes_addr to host:port. The name kubernetes was an alias of
// the node itself.
func apiServer(addr string) string {
	host, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(addr, "https://"), "/"))
	if err != nil {
		return addr
	}
	if host == "kubernetes" || host == "localhost" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

var version = regexp.MustCompile(`:v?(\d+)\.(\d+)(?:\.(\d+))?`)

// ownDuration tells whether that version of kube-vip waits for its own lease duration, and not for that in
// the record, as client-go does up to 0.26 (adr/0012): kube-vip v0.6.1 has 0.27. A version that is not
// known may.
func (r *reader) ownDuration() bool {
	image, _ := resolve(str(get(r.n, "image")))
	v := version.FindStringSubmatch(image)
	return v == nil || v[1] == "0" && (len(v[2]) == 1 && v[2] < "6" || v[2] == "6" && (v[3] == "" || v[3] == "0"))
}

// defaultTiming returns the timing of that version of kube-vip, by the tag of the image (PR 1429).
func (r *reader) defaultTiming() (lease, deadline, retry, why string) {
	image, _ := resolve(str(get(r.n, "image")))
	v := version.FindStringSubmatch(image)
	if v == nil {
		return "15", "10", "2", fmt.Sprintf("the version of %s is not known; assumed to be v1.1.0 or later, which has 15, 10 and 2 s", image)
	}
	major, _ := strconv.Atoi(v[1])
	minor, _ := strconv.Atoi(v[2])
	if major > 1 || major == 1 && minor >= 1 {
		return "15", "10", "2", fmt.Sprintf("%s has 15, 10 and 2 s, as all from v1.1.0 on", image)
	}
	return "5", "3", "1", fmt.Sprintf("%s has 5, 3 and 1 s, as all before v1.1.0", image)
}

// timing uses kube-vip's lease duration and renewal interval, so that both give each other the same
// time.
func (r *reader) timing() error {
	lease, deadline, retry, why := r.defaultTiming()
	values := []*string{&lease, &deadline, &retry}
	var absent []string
	for i, name := range []string{"vip_leaseduration", "vip_renewdeadline", "vip_retryperiod"} {
		if v, ok := r.get(name); ok && v.value != "" {
			if i != 1 && unbraced.MatchString(v.value) {
				return r.refuse(v.node, fmt.Sprintf("%s=%s: vipd's setting ends with the unit, %[2]ss, which would be another variable", name, v.value), "write a placeholder that ends by itself, such as __LEASE__, and migrate again")
			}
			*values[i] = v.value
		} else {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		r.note(r.line(r.n), strings.Join(absent, ", ")+" not set: vipd uses kube-vip's default; "+why)
	}
	if err := r.validTiming(lease, deadline, retry); err != nil {
		return err
	}
	r.set("lease-duration", seconds(lease))
	r.set("renew-interval", seconds(retry))
	if !r.daemonSet && r.ownDuration() { // a DaemonSet of kube-vip does not run beside vipd
		r.set("max-lease-duration", seconds(lease))
		r.note(r.line(get(r.n, "image")), "kube-vip up to v0.6.0 waits for its own lease duration: vipd's lease does not become longer (VIPD_MAX_LEASE_DURATION), until all nodes run vipd and you remove that")
	}
	return nil
}

// seconds appends the unit to a number or a placeholder. Quotes in a default are removed, because
// they would become part of the value.
func seconds(value string) string {
	return strings.NewReplacer(`"`, "", "'", "").Replace(value) + "s"
}

// unbraced is a variable that the unit would become a part of.
var unbraced = regexp.MustCompile(`\$\w+$`)

func (r *reader) validTiming(values ...string) error {
	var d []time.Duration
	for _, value := range values {
		resolved, known := resolve(value)
		if !known {
			return nil
		}
		n, err := strconv.ParseUint(resolved, 10, 16)
		if err != nil {
			return r.refuse(r.n, fmt.Sprintf("lease timing %q is not a number of seconds", value), "correct it, and migrate again")
		}
		d = append(d, time.Duration(n)*time.Second)
	}
	if d[0] <= d[1] || float64(d[1]) <= 1.2*float64(d[2]) {
		return r.refuse(r.n, fmt.Sprintf("kube-vip does not start with a lease of %s, a deadline of %s and a period of %s: each must be longer than the next", d[0], d[1], d[2]),
			"correct vip_leaseduration, vip_renewdeadline and vip_retryperiod, and migrate again")
	}
	if r.options.Timing != nil {
		if err := r.options.Timing(d[0], d[2]); err != nil {
			return r.refuse(r.n, "vipd cannot use kube-vip's timing: "+err.Error(), "first roll out kube-vip with another timing, so that both use the same, and migrate again")
		}
	}
	return nil
}

// credentials lets vipd create its own if the cluster's CA is on the node.
func (r *reader) credentials() error {
	inPod := "/etc/kubernetes/admin.conf"
	if v, ok := r.get("k8s_config_file"); ok && v.value != "" {
		inPod = v.value
	}
	host, n := r.hostPath(inPod)
	switch {
	case host == "" || r.daemonSet:
		return nil
	case r.out.Distribution.DataDir != "":
		r.note(r.line(n), "vipd makes its own credentials with the CA in "+r.out.Distribution.PKI+", and does not need "+host)
	case path.Base(host) != "admin.conf" && path.Base(host) != "super-admin.conf":
		r.out.Kubeconfigs = []string{host}
		r.note(r.line(n), "vipd uses the credentials in "+host+", because it does not know the path of a CA to create its own")
	case path.Dir(host) != path.Dir(manifest.DefaultPKI):
		r.out.PKI = path.Join(path.Dir(host), path.Base(manifest.DefaultPKI))
		r.note(r.line(n), "vipd uses the cluster's CA in "+r.out.PKI+", beside "+host+": check that it is there")
	}
	for _, p := range append(slices.Clone(r.out.Kubeconfigs), cmp.Or(r.out.PKI, "/")) {
		if why := mountable(p); why != "" {
			return r.refuse(n, "vipd's pod cannot mount the credentials: "+why, "write their whole path, and migrate again")
		}
	}
	return nil
}

// hostPath returns the file of the node that is mounted at a path.
func (r *reader) hostPath(mounted string) (string, *yaml.Node) {
	mounts, volumes := get(r.n, "volumeMounts"), get(spec(r.pod.n), "volumes")
	if mounts == nil || volumes == nil {
		return "", nil
	}
	for _, mount := range mounts.Content {
		for _, v := range volumes.Content {
			if str(get(mount, "mountPath")) == mounted && str(get(mount, "name")) == str(get(v, "name")) {
				return str(get(v, "hostPath", "path")), v
			}
		}
	}
	return "", nil
}

// valid parses the settings as vipd does. A placeholder without a default counts as valid.
func (r *reader) valid() error {
	good := map[string]string{"address": "192.0.2.1", "status-address": "127.0.0.1:2112", "port": "6443", "apiserver": "127.0.0.1:6443", "lease-duration": "15s", "renew-interval": "2s"}
	values := config.Values{"kubeconfig": {manifest.Kubeconfig}}
	for _, s := range append([]manifest.Setting{{Name: "address", Value: r.out.Address}}, r.out.Settings...) {
		resolved, known := resolve(s.Value)
		if !known || isPlaceholder(s.Name, resolved) {
			resolved = good[s.Name]
		}
		if resolved != "" {
			values[s.Name] = []string{resolved}
		}
	}
	if _, err := config.Parse(values); err != nil {
		return r.refuse(r.n, "vipd cannot run with these settings: "+strings.ReplaceAll(err.Error(), "\n", "; "), "correct them, and migrate again")
	}
	return nil
}

// carried are the fields of a pod for which vipd's manifest has its own value.
var carried = []string{
	"metadata.name", "metadata.namespace", "metadata.creationTimestamp",
	"spec.containers", "spec.hostNetwork", "spec.hostAliases", "spec.volumes", "spec.priorityClassName", "spec.priority", "spec.restartPolicy",
	"container.name", "container.image", "container.imagePullPolicy", "container.args", "container.command", "container.env",
	"container.securityContext", "container.volumeMounts", "container.livenessProbe", "container.readinessProbe", "container.startupProbe",
}

// public are the registries of kube-vip's images.
var public = []string{"ghcr.io", "docker.io", "public.ecr.aws", "quay.io"}

// registryOf returns the registry of an image; without one, it is docker.io.
func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io"
	}
	return host
}

// registry warns that kube-vip's image comes from a registry of its own, from which nodes may have
// to pull vipd's as well.
func (r *reader) registry() {
	n := get(r.n, "image")
	image, known := resolve(str(n))
	if host := registryOf(image); known && !slices.Contains(public, host) && host != registryOf(r.out.Image) {
		r.notes = append(r.notes, Note{Line: r.line(n), Loss: true, Text: "kube-vip's image comes from " + host + ", and vipd's from " + registryOf(r.out.Image) + " (" + r.out.Image + "): if nodes cannot pull from there, copy vipd's image to " + host + ", and give it with --image"})
	}
}

// others notes the fields that are not carried over.
func (r *reader) others() {
	r.othersOf("metadata.", get(r.pod.n, "metadata"))
	r.othersOf("spec.", spec(r.pod.n))
	r.othersOf("container.", r.n)
}

func (r *reader) othersOf(prefix string, n *yaml.Node) {
	for i := 0; n != nil && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if slices.Contains(carried, prefix+key.Value) || len(value.Content) == 0 && (value.Value == "" || value.Tag == "!!null") {
			continue
		}
		r.note(r.line(key), prefix+key.Value+" is not carried over: vipd's manifest has its own, or none")
	}
}
