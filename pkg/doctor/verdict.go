package doctor

import (
	"fmt"
	"slices"
)

// verdict says in a sentence or two what the findings come to, together.
func verdict(r Report, c *Case) []string {
	found := func(id string, marks ...string) bool {
		return slices.ContainsFunc(r.Findings(), func(f Finding) bool {
			return f.ID == id && f.Severity == Error && (len(marks) == 0 || slices.Contains(marks, f.Mark))
		})
	}
	reached := r.well("D14") && r.well("D15")
	switch {
	case found("D11", "handed out"):
		return []string{"A machine has the VIP as its own address: the IP pool gave it away."}
	case found("D11", "gateway"):
		return []string{"The VIP is badly chosen: it is the address of the router."}
	case found("D11", "no gateway", "gateway outside"):
		out := []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway."}
		if !found("D11", "no gateway") {
			out[0] = "This is not a CAPV fault and not vipd: the IP pool has a gateway that its machines cannot reach."
		}
		if found("D11", "contains") {
			out = append(out, "And it will hand out the VIP.")
		}
		return out
	case found("D11", "contains"):
		return []string{"The IP pool will hand out the VIP, sooner or later."}
	case found("D25", "both"):
		return []string{"The KubeadmControlPlane makes machines with both kube-vip and vipd."}
	case found("D09", "several", "stranger"):
		return []string{"Another machine answers for the VIP. vipd cannot help that: find the one that the lease does not name, by the MACs below, and take the address away there."}
	case found("D23"):
		return []string{"Another machine claims the VIP now and then, or is taken for its holder: find it by the MAC below, and take the address away there."}
	case found("D15", "other CA", "no TLS"):
		return []string{"Another cluster, or another machine, has the VIP: what answers there is not of this cluster."}
	case found("D10", "no vipd"):
		return []string{"The VIP was left behind on this node, which may make two that have it: nothing here looks after it."}
	case found("D10"):
		return []string{"This node has the VIP without the lease; another one holds it."}
	case found("D08"), found("D07"):
		return []string{"The VIP is badly chosen: no manager of a VIP can make this address work here."}
	case found("D05"), found("D06"):
		return []string{"The interface of the VIP is not there, or has no carrier. Mend that first: the rest may follow from it."}
	case found("D01", "no gateway delivered"):
		return c.fineInside(reached, "This is not a CAPV fault and not vipd: the IP pool has no gateway.")
	case found("D01", "VM-wide routes"):
		return c.fineInside(reached, "This is not vipd: the VSphereMachineTemplate has routes for the whole machine, and cloud-init cannot read them.")
	case found("D01", "not applied"):
		return c.fineInside(reached, "This is neither CAPV nor vipd: the gateway was delivered, and this guest (cloud-init, NetworkManager, netplan) does not have it.")
	case found("D01"), found("D02"), found("D03"):
		return c.fineInside(reached, "This is neither Cluster API nor vipd: the way out of this node's subnet is broken (the gateway).")
	case found("D19") && c.Facts.Holder:
		return []string{"This node holds the VIP, and its own firewall keeps clients from port " + fmt.Sprint(c.Facts.Port) + ". ARP and vipd are in order."}
	case found("D19") && found("D14", "rejected", "silent"):
		return []string{"Firewalls keep clients from port " + fmt.Sprint(c.Facts.Port) + ": this node's does, and most likely that of the node which holds the VIP. ARP and vipd are in order."}
	case found("D14", "rejected"):
		return []string{"A firewall rejects port " + fmt.Sprint(c.Facts.Port) + " of the VIP, most likely that of the node which holds it. ARP and vipd are in order: that node is reached."}
	case found("D24"):
		return []string{"The network between the nodes drops announcements of the VIP. vipd sends them, and cannot mend that: it is the switch, the port group, or a filter in front of one."}
	case found("D17", "forbidden") && r.well("D16"):
		return []string{"Nobody may take the VIP: the API server runs, and vipd has no rights to the Lease. Until kubeadm has finished on the first node, that mends itself only if vipd makes its own credentials."}
	case found("D17", "missing", "directory", "empty", "broken", "expired"):
		return []string{"vipd has no credentials that are of use, and so this node cannot hold the VIP."}
	case found("D17", "untrusted"):
		return []string{"vipd's credentials are not of this node's cluster, and so it cannot hold the VIP."}
	case found("D18", "stale") && !reached:
		return []string{"No node holds the VIP: the lease has a holder that is gone, and no vipd that runs could take it."}
	case found("D18", "stranger"):
		return []string{"A machine that is no control-plane node of this cluster has the lease, and with it the VIP."}
	case found("D20"):
		return []string{"SELinux keeps vipd from its files on this node, and so it cannot hold the VIP."}
	case found("D28") && !reached:
		return []string{"kubelet does not run the manager of the VIP on this node as its manifest stands."}
	case found("D14", "nobody"):
		return []string{"No node holds the VIP. On a control-plane node, `vipd status` says why."}
	case found("D16") && found("D14", "refused"):
		return []string{"The VIP is held, and the API server behind it does not run."}
	case found("D16", "refused", "silent") && found("D19") && reached:
		return []string{"The VIP works, and this node cannot take it: its API server does not answer, and its firewall keeps clients from port " + fmt.Sprint(c.Facts.Port) + ", this node perhaps among them."}
	case found("D16") && reached:
		return []string{"The VIP works, and the API server of this node does not. It cannot take the VIP until that is mended."}
	case found("D25"):
		return []string{"kube-vip is still on this node, and vipd waits until it is gone."}
	case found("D14", "no route", "no route beyond"):
		return []string{"This machine, or a router on the way, has no route to the VIP. That is the network's, and neither vipd's nor Cluster API's."}
	case found("D14", "silent") && !found("D16"):
		return []string{"What is sent to the VIP is dropped: by a firewall, on the way, or by a node that held it until a moment ago."}
	case found("D14", "refused"):
		return []string{"A machine has the VIP, and no API server runs on it."}
	case found("D15", "silent"):
		return []string{"What has the VIP takes connections and does not answer: its API server hangs, or it is another machine."}
	case found("D19") && reached:
		return []string{"The VIP works until this node takes it: its firewall keeps clients from port " + fmt.Sprint(c.Facts.Port) + "."}
	case onlyErrorIn(r, "D13") && reached:
		return []string{"The VIP is healthy; only the name is wrong."}
	case onlyErrorIn(r, "D13") && c.Mode == Preflight:
		return []string{"Only the name of the VIP is wrong, of what can be told before kubeadm."}
	}
	return plainly(r)
}

// fineInside adds to what is wrong beyond the subnet that the VIP is not, if it was reached.
func (c *Case) fineInside(reached bool, verdict string) []string {
	out := []string{verdict}
	if subnet, ok := c.Facts.subnet(c.Facts.VIP); ok && reached {
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
