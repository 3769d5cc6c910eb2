package doctor

import (
	"fmt"
	"slices"
)

// evidence is the input of the verdict.
type evidence struct {
	Report
	*Input
	// vipReachable: a connection to the VIP succeeded, with a valid certificate.
	vipReachable bool
}

// verdict summarizes the findings in a sentence or two. The more certain explanations come
// first; the first one that applies is the verdict.
func verdict(r Report, in *Input) []string {
	s := evidence{r, in, r.passed("D14") && r.passed("D15")}
	for _, explain := range []func() []string{s.poolVerdict, s.ownerVerdict, s.networkVerdict, s.vipdVerdict, s.serverVerdict} {
		if out := explain(); out != nil {
			return out
		}
	}
	return genericVerdict(r)
}

// hasError reports whether a check found an error, of one of the kinds if any are given.
func (e evidence) hasError(id string, kinds ...string) bool {
	return slices.ContainsFunc(e.Findings(), func(f Finding) bool {
		return f.ID == id && f.Severity == Error && (len(kinds) == 0 || slices.Contains(kinds, f.Kind))
	})
}

// has reports whether a check has a finding of a kind, of any severity.
func (e evidence) has(id, kind string) bool {
	return slices.ContainsFunc(e.Findings(), func(f Finding) bool { return f.ID == id && f.Kind == kind })
}

func (e evidence) port() string { return fmt.Sprint(e.Facts.Port) }

// poolVerdict explains errors of IP pools and of Cluster API objects.
func (e evidence) poolVerdict() []string {
	switch {
	case e.hasError("D11", "handed out"):
		return []string{"A machine has the VIP as its own address: the IP pool allocated the VIP."}
	case e.hasError("D11", "gateway"):
		return []string{"The VIP is not usable: it is the address of the router."}
	case e.hasError("D11", "no gateway", "gateway outside"):
		out := []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway."}
		if !e.hasError("D11", "no gateway") {
			out[0] = "This is not a CAPV fault and not vipd: the IP pool has a gateway that its machines cannot reach."
		}
		if e.hasError("D11", "contains") {
			out = append(out, "The pool will also allocate the VIP.")
		}
		return out
	case e.hasError("D11", "contains"):
		return []string{"The IP pool will allocate the VIP to a machine, sooner or later."}
	case e.hasError("D33"):
		return []string{"This is not vipd: the machine template and the IP pool have different gateways, and CAPV leaves the machines off."}
	case e.hasError("D30", "endpoints"):
		return []string{"The Cluster and its VSphereCluster have different endpoints: one of the endpoints leads to no API server."}
	case e.hasError("D25", "both"):
		return []string{"The KubeadmControlPlane creates machines with both kube-vip and vipd."}
	}
	return nil
}

// ownerVerdict explains VIPs at the wrong machine, and addresses that cannot be a VIP.
func (e evidence) ownerVerdict() []string {
	switch {
	case e.hasError("D09", "several", "stranger"):
		return []string{"Another machine answers for the VIP. vipd cannot prevent that: find the machine that the Lease does not name by the MACs below, and remove the address there."}
	case e.hasError("D23"):
		return []string{"Another machine claims the VIP at times, or other nodes take that machine for the holder: find the machine by the MAC below, and remove the address there."}
	case e.hasError("D15", "other CA", "no TLS"):
		return []string{"Another cluster or another machine has the VIP: the server that answers does not belong to this cluster."}
	case e.hasError("D10", "no vipd"):
		return []string{"This node has a leftover copy of the VIP, and no vipd runs here to remove it: two nodes may have the VIP."}
	case e.hasError("D10"):
		return []string{"This node has the VIP without the Lease; another node holds the Lease."}
	case e.hasError("D08", "local"):
		return []string{"This node answers ARP for the VIP at any time: another program than vipd added the VIP to this node; the finding says which."}
	case e.hasError("D07", "lost", "no address"):
		return []string{"This node has no address in the subnet of the VIP any more, or not yet: bring back its own address. The VIP itself is not known to be wrong."}
	case e.hasError("D08"), e.hasError("D07"):
		return []string{"The VIP is not usable: no VIP manager can make this address work here."}
	case e.hasError("D32"):
		return []string{"Kubernetes may give the address of the VIP to a Service or a pod: the VIP is in the Service CIDR or the pod CIDR of the cluster."}
	}
	return nil
}

// replies are the kinds of D19 for answers that do not leave.
var replies = []string{"reply rule", "reply policy"}

// arpRules are the kinds of D19 for ARP.
var arpRules = []string{"arp rule", "arp policy"}

// networkVerdict explains errors of this machine's network and of the path to the VIP.
func (e evidence) networkVerdict() []string {
	switch {
	case e.hasError("D06", "arp off"):
		return []string{"ARP is off on the interface of the VIP. Switch ARP on first: the other findings may be consequences."}
	case e.hasError("D05"), e.hasError("D06"):
		return []string{"The interface of the VIP does not exist or has no carrier. Fix the interface first: the other findings may be consequences."}
	case e.hasError("D01", "no gateway delivered"):
		return e.withSubnetNote("This is not a CAPV fault and not vipd: the IP pool has no gateway.")
	case e.hasError("D01", "VM routes"):
		return e.withSubnetNote("This is not vipd: the VSphereMachineTemplate has machine-level routes, and cloud-init cannot read them.")
	case e.hasError("D01", "not applied"):
		return e.withSubnetNote("This is neither CAPV nor vipd: CAPV delivered the gateway, and this guest (cloud-init, NetworkManager, netplan) did not apply the gateway.")
	case e.hasError("D01"), e.hasError("D02"), e.hasError("D03"):
		return e.withSubnetNote("This is neither Cluster API nor vipd: the way out of this node's subnet is broken (the gateway).")
	case e.hasError("D19", "keepalived"):
		return []string{"keepalived's rules on this node (vrrp_strict) drop packets to or from the VIP. ARP and vipd work; remove keepalived and its table from this node."}
	case e.hasError("D19", arpRules...):
		return []string{"The firewall of this node drops ARP for the VIP: while this node holds the VIP, hosts on this network do not find the VIP."}
	case e.hasError("D19", replies...) && e.Facts.Holder:
		return []string{"This node holds the VIP, and the firewall of this node drops the answers of port " + e.port() + ". ARP works, and clients wait in vain."}
	case e.hasError("D19", replies...):
		return []string{"The firewall of this node drops the answers of port " + e.port() + ": while this node holds the VIP, clients wait in vain."}
	case e.hasError("D14", "own firewall"):
		return []string{"The firewall of this machine blocks its own connections to the VIP. That is no fault of the VIP, of vipd or of the holder."}
	case e.hasError("D19") && e.Facts.Holder:
		return []string{"This node holds the VIP, and the firewall of this node blocks clients from port " + e.port() + ". ARP and vipd work."}
	case e.hasError("D19") && e.hasError("D14", "rejected", "silent"):
		return []string{"Firewalls block clients from port " + e.port() + ": the firewall of this node does, and most likely the firewall of the holder. ARP and vipd work."}
	case e.hasError("D14", "rejected"):
		return []string{"A firewall rejects port " + e.port() + " of the VIP, most likely the firewall of the holder. ARP and vipd work: the holder is reachable."}
	case e.hasError("D24"):
		return []string{"The network between the nodes drops announcements of the VIP. vipd sends the announcements; the switch, the port group or a filter drops them."}
	}
	return nil
}

// vipdVerdict explains errors of vipd itself: permissions, Lease, pod.
func (e evidence) vipdVerdict() []string {
	switch {
	case e.hasError("D17", "forbidden") && e.passed("D16"):
		return []string{"No node can take the VIP: the API server runs, and vipd has no permissions for the Lease. Until kubeadm has finished on the first node, this resolves itself only if vipd creates its own credentials."}
	case e.hasError("D17", "missing", "directory", "empty", "broken", "expired"):
		return []string{"vipd has no usable credentials, so this node cannot hold the VIP."}
	case e.hasError("D17", "untrusted"):
		return []string{"vipd's credentials belong to another cluster, so this node cannot hold the VIP."}
	case e.hasError("D18", "stale") && !e.vipReachable:
		return []string{"No node holds the VIP: the holder of the Lease is gone, and no running vipd could take the Lease."}
	case e.hasError("D18", "stranger"):
		return []string{"A machine that is no control-plane node of this cluster holds the Lease, and therefore the VIP."}
	case e.hasError("D20"):
		return []string{"SELinux denies vipd access to its files, so this node cannot hold the VIP."}
	case e.hasError("D28") && !e.vipReachable:
		return []string{"kubelet does not run the VIP manager on this node: kubelet refuses the manifest."}
	case e.hasError("D14", "mute"):
		return []string{fmt.Sprintf("%s holds the VIP by the Lease, and does not answer for the VIP on this link.", e.Facts.LeaseHolder)}
	case e.hasError("D14", "nobody"):
		return []string{"No node holds the VIP. On a control-plane node, `vipd status` says why."}
	}
	return nil
}

// serverVerdict explains errors of the API servers, and all other errors.
func (e evidence) serverVerdict() []string {
	switch {
	case e.hasError("D16") && e.hasError("D14", "refused"):
		return []string{"The VIP is held, and the API server behind it does not run."}
	case e.hasError("D16", "refused", "silent") && e.hasError("D19") && e.vipReachable:
		return []string{"The VIP works, and this node cannot take the VIP: its API server does not answer, and its firewall blocks clients from port " + e.port() + ", possibly including this node."}
	case e.hasError("D16") && e.vipReachable:
		return []string{"The VIP works, and the API server of this node does not. This node cannot take the VIP until its API server works."}
	case e.hasError("D25"):
		return []string{"kube-vip is still on this node, and vipd waits until kube-vip is removed."}
	case e.hasError("D14", "no route", "no route beyond"):
		return []string{"This machine, or a router on the path, has no route to the VIP. This is a network problem, and neither vipd nor Cluster API."}
	case e.hasError("D14", "silent") && e.has("D09", "proxy"):
		return []string{"A router or a cloud answers ARP for the VIP in place of the holder (proxy ARP), and does not forward packets to the holder."}
	case e.hasError("D14", "silent") && !e.hasError("D16"):
		return []string{"Packets to the VIP are dropped: by a firewall, on the path, or by the previous holder a moment after a failover."}
	case e.hasError("D14", "refused"):
		return []string{"A machine has the VIP, and no API server runs on it."}
	case e.hasError("D15", "silent"):
		return []string{"The machine with the VIP accepts connections and does not answer: its API server hangs, or the machine is not a control-plane node."}
	case e.hasError("D19") && e.vipReachable:
		return []string{"The VIP works until this node takes the VIP: the firewall of this node blocks clients from port " + e.port() + "."}
	case onlyErrorIn(e.Report, "D13") && e.vipReachable:
		return []string{"The VIP is healthy; only its DNS name is wrong."}
	case onlyErrorIn(e.Report, "D13") && e.Mode == Preflight:
		return []string{"Only the DNS name of the VIP is wrong, as far as can be checked before kubeadm."}
	}
	return nil
}

// withSubnetNote adds that the VIP works inside its subnet, if a connection succeeded.
func (e evidence) withSubnetNote(verdict string) []string {
	out := []string{verdict}
	if subnet, ok := e.Facts.subnet(e.Facts.VIP); ok && e.vipReachable {
		out = append(out, fmt.Sprintf("The VIP itself works inside %s.", subnet.Prefix.Masked()))
	}
	return out
}

// passed reports whether a check ran and found no error.
func (r Report) passed(id string) bool {
	return slices.ContainsFunc(r.Results, func(res Result) bool {
		return res.ID == id && res.Unknown == "" && !slices.ContainsFunc(res.Findings, func(f Finding) bool { return f.Severity == Error })
	})
}

// onlyErrorIn reports whether all errors are findings of one check.
func onlyErrorIn(r Report, id string) bool {
	found := false
	for _, f := range r.Findings() {
		if f.Severity == Error && f.ID != id {
			return false
		}
		found = found || f.Severity == Error
	}
	return found
}

// genericVerdict is the verdict if no explanation applies.
func genericVerdict(r Report) []string {
	unknown := 0
	for _, res := range r.Results {
		if res.Unknown != "" {
			unknown++
		}
	}
	switch worst, found := r.Worst(); {
	case found && worst == Error:
		return []string{"Something is wrong: see below."}
	case found:
		return []string{"Nothing is broken: see the warnings and notes below."}
	case unknown > 0:
		return []string{fmt.Sprintf("No problems found; %d of %d checks could not run.", unknown, len(r.Results))}
	}
	return []string{fmt.Sprintf("All is well: %d checks found no problem.", len(r.Results))}
}
