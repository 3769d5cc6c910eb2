package doctor

import (
	"fmt"
	"slices"
)

// story is what several findings are put together from.
type story struct {
	Report
	*Case
	// reached: the VIP answered, and as it should.
	reached bool
}

// verdict says in a sentence or two what the findings come to, together: the first of the
// chapters that has something to say, the more certain first.
func verdict(r Report, c *Case) []string {
	s := story{r, c, r.well("D14") && r.well("D15")}
	for _, chapter := range []func() []string{s.pools, s.machines, s.network, s.vipd, s.servers} {
		if out := chapter(); out != nil {
			return out
		}
	}
	return plainly(r)
}

// found tells of an error of a check, with one of the marks if there are some.
func (s story) found(id string, marks ...string) bool {
	return slices.ContainsFunc(s.Findings(), func(f Finding) bool {
		return f.ID == id && f.Severity == Error && (len(marks) == 0 || slices.Contains(marks, f.Mark))
	})
}

func (s story) port() string { return fmt.Sprint(s.Facts.Port) }

// pools is about what hands out addresses, and makes machines.
func (s story) pools() []string {
	switch {
	case s.found("D11", "handed out"):
		return []string{"A machine has the VIP as its own address: the IP pool gave it away."}
	case s.found("D11", "gateway"):
		return []string{"The VIP is badly chosen: it is the address of the router."}
	case s.found("D11", "no gateway", "gateway outside"):
		out := []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway."}
		if !s.found("D11", "no gateway") {
			out[0] = "This is not a CAPV fault and not vipd: the IP pool has a gateway that its machines cannot reach."
		}
		if s.found("D11", "contains") {
			out = append(out, "And it will hand out the VIP.")
		}
		return out
	case s.found("D11", "contains"):
		return []string{"The IP pool will hand out the VIP, sooner or later."}
	case s.found("D30", "endpoints"):
		return []string{"The Cluster and its VSphereCluster disagree on where the API servers are: one of them points at nothing."}
	case s.found("D25", "both"):
		return []string{"The KubeadmControlPlane makes machines with both kube-vip and vipd."}
	}
	return nil
}

// machines is about machines that should not have the VIP, and addresses that cannot be one.
func (s story) machines() []string {
	switch {
	case s.found("D09", "several", "stranger"):
		return []string{"Another machine answers for the VIP. vipd cannot help that: find the one that the lease does not name, by the MACs below, and take the address away there."}
	case s.found("D23"):
		return []string{"Another machine claims the VIP now and then, or is taken for its holder: find it by the MAC below, and take the address away there."}
	case s.found("D15", "other CA", "no TLS"):
		return []string{"Another cluster, or another machine, has the VIP: what answers there is not of this cluster."}
	case s.found("D10", "no vipd"):
		return []string{"The VIP was left behind on this node, which may make two that have it: nothing here looks after it."}
	case s.found("D10"):
		return []string{"This node has the VIP without the lease; another one holds it."}
	case s.found("D08"), s.found("D07"):
		return []string{"The VIP is badly chosen: no manager of a VIP can make this address work here."}
	}
	return nil
}

// network is about this machine's network, and what lies between it and the VIP.
func (s story) network() []string {
	switch {
	case s.found("D05"), s.found("D06"):
		return []string{"The interface of the VIP is not there, or has no carrier. Mend that first: the rest may follow from it."}
	case s.found("D01", "no gateway delivered"):
		return s.fineInside("This is not a CAPV fault and not vipd: the IP pool has no gateway.")
	case s.found("D01", "VM routes"):
		return s.fineInside("This is not vipd: the VSphereMachineTemplate has routes for the whole machine, and cloud-init cannot read them.")
	case s.found("D01", "not applied"):
		return s.fineInside("This is neither CAPV nor vipd: the gateway was delivered, and this guest (cloud-init, NetworkManager, netplan) does not have it.")
	case s.found("D01"), s.found("D02"), s.found("D03"):
		return s.fineInside("This is neither Cluster API nor vipd: the way out of this node's subnet is broken (the gateway).")
	case s.found("D19") && s.Facts.Holder:
		return []string{"This node holds the VIP, and its own firewall keeps clients from port " + s.port() + ". ARP and vipd are in order."}
	case s.found("D19") && s.found("D14", "rejected", "silent"):
		return []string{"Firewalls keep clients from port " + s.port() + ": this node's does, and most likely that of the node which holds the VIP. ARP and vipd are in order."}
	case s.found("D14", "rejected"):
		return []string{"A firewall rejects port " + s.port() + " of the VIP, most likely that of the node which holds it. ARP and vipd are in order: that node is reached."}
	case s.found("D24"):
		return []string{"The network between the nodes drops announcements of the VIP. vipd sends them, and cannot mend that: it is the switch, the port group, or a filter in front of one."}
	}
	return nil
}

// vipd is about vipd's own ways: rights, lease, pod.
func (s story) vipd() []string {
	switch {
	case s.found("D17", "forbidden") && s.well("D16"):
		return []string{"Nobody may take the VIP: the API server runs, and vipd has no rights to the Lease. Until kubeadm has finished on the first node, that mends itself only if vipd makes its own credentials."}
	case s.found("D17", "missing", "directory", "empty", "broken", "expired"):
		return []string{"vipd has no credentials that are of use, and so this node cannot hold the VIP."}
	case s.found("D17", "untrusted"):
		return []string{"vipd's credentials are not of this node's cluster, and so it cannot hold the VIP."}
	case s.found("D18", "stale") && !s.reached:
		return []string{"No node holds the VIP: the lease has a holder that is gone, and no vipd that runs could take it."}
	case s.found("D18", "stranger"):
		return []string{"A machine that is no control-plane node of this cluster has the lease, and with it the VIP."}
	case s.found("D20"):
		return []string{"SELinux keeps vipd from its files on this node, and so it cannot hold the VIP."}
	case s.found("D28") && !s.reached:
		return []string{"kubelet does not run the manager of the VIP on this node as its manifest stands."}
	case s.found("D14", "nobody"):
		return []string{"No node holds the VIP. On a control-plane node, `vipd status` says why."}
	}
	return nil
}

// servers is about what answers at the VIP, and the rest.
func (s story) servers() []string {
	switch {
	case s.found("D16") && s.found("D14", "refused"):
		return []string{"The VIP is held, and the API server behind it does not run."}
	case s.found("D16", "refused", "silent") && s.found("D19") && s.reached:
		return []string{"The VIP works, and this node cannot take it: its API server does not answer, and its firewall keeps clients from port " + s.port() + ", this node perhaps among them."}
	case s.found("D16") && s.reached:
		return []string{"The VIP works, and the API server of this node does not. It cannot take the VIP until that is mended."}
	case s.found("D25"):
		return []string{"kube-vip is still on this node, and vipd waits until it is gone."}
	case s.found("D14", "no route", "no route beyond"):
		return []string{"This machine, or a router on the way, has no route to the VIP. That is the network's, and neither vipd's nor Cluster API's."}
	case s.found("D14", "silent") && !s.found("D16"):
		return []string{"What is sent to the VIP is dropped: by a firewall, on the way, or by a node that held it until a moment ago."}
	case s.found("D14", "refused"):
		return []string{"A machine has the VIP, and no API server runs on it."}
	case s.found("D15", "silent"):
		return []string{"What has the VIP takes connections and does not answer: its API server hangs, or it is another machine."}
	case s.found("D19") && s.reached:
		return []string{"The VIP works until this node takes it: its firewall keeps clients from port " + s.port() + "."}
	case onlyErrorIn(s.Report, "D13") && s.reached:
		return []string{"The VIP is healthy; only the name is wrong."}
	case onlyErrorIn(s.Report, "D13") && s.Mode == Preflight:
		return []string{"Only the name of the VIP is wrong, of what can be told before kubeadm."}
	}
	return nil
}

// fineInside adds to what is wrong beyond the subnet that the VIP is not, if it was reached.
func (s story) fineInside(verdict string) []string {
	out := []string{verdict}
	if subnet, ok := s.Facts.subnet(s.Facts.VIP); ok && s.reached {
		out = append(out, fmt.Sprintf("The VIP itself is fine inside %s.", subnet.Prefix.Masked()))
	}
	return out
}

// well tells whether a check has looked, and found nothing that is wrong.
func (r Report) well(id string) bool {
	return slices.ContainsFunc(r.Results, func(res Result) bool {
		return res.ID == id && res.Unknown == "" && !slices.ContainsFunc(res.Findings, func(f Finding) bool { return f.Severity == Error })
	})
}

// onlyErrorIn tells whether a check found something wrong, and no other did.
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

// plainly is what is left to say where no case is known.
func plainly(r Report) []string {
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
		return []string{"Nothing is broken, and something could be better."}
	case unknown > 0:
		return []string{fmt.Sprintf("Nothing was found to be wrong; %d of %d checks could not look.", unknown, len(r.Results))}
	}
	return []string{fmt.Sprintf("All is well: %d checks found nothing.", len(r.Results))}
}
