package doctor

// Symptom is what people see or read before they call the doctor.
type Symptom struct {
	// Seen is in their words, or in those of the program that said it.
	Seen string
	// Checks are IDs, the likeliest first.
	Checks []string
	// Means is what it is most often.
	Means string
}

// Symptoms are those that are known, by where they are seen: a machine, an error
// message, the cluster.
var Symptoms = []Symptom{
	{"VM has an IP but cannot ping the gateway", []string{"D02", "D03", "D06"}, "gateway or prefix of the IP pool is wrong, or the VM's port group or VLAN is"},
	{"`ip route` shows no `default via`", []string{"D01", "D11"}, "the IP pool has no gateway, or a NetworkManager profile of the VM template has none"},
	{"nmtui shows an empty gateway", []string{"D01", "D22", "D04"}, "as above: nmtui shows what was delivered, or a profile that competes with cloud-init's"},
	{"CAPV: cluster is not reachable / no route to host", []string{"D14", "D01", "D16"},
		"the management cluster cannot connect to the VIP: nobody holds it yet, or a node without default route cannot answer"},
	{"workers cannot join: VIP or its DNS name out of reach", []string{"D13", "D14", "D15", "D19"}, "the name leads nowhere, or a firewall on the holder; run it on the worker, with --worker"},

	{"no route to host, after 3 seconds", []string{"D14", "D05", "D06", "D17"}, "nobody answers ARP for the VIP: no node holds it"},
	{"no route to host, at once", []string{"D14", "D19"}, "the holder's firewall rejects the port, as firewalld does"},
	{"connection refused", []string{"D14", "D16"}, "the VIP is held, and the API server there does not run"},
	{"context deadline exceeded, i/o timeout", []string{"D14", "D01", "D21"}, "packets are dropped on the way, or the holder has no way back (no default route)"},
	{"network is unreachable", []string{"D01", "D07"}, "this machine has no route to the VIP"},
	{"x509: certificate signed by unknown authority", []string{"D15", "D09"}, "another cluster, or another machine, has the VIP"},
	{"x509: certificate is valid for X, not Y", []string{"D15"}, "the VIP or its name is missing in certSANs"},
	{"x509: certificate has expired or is not yet valid", []string{"D15", "D27", "D17"}, "a certificate has ended, or a clock is wrong"},
	{"no such host", []string{"D13"}, "the name has no record, ends in .local, or the name server is out of reach"},
	{"kubeadm: cannot use \"0.0.0.0\" as the bind address", []string{"D01"}, "the node has no default route"},

	{"nobody holds the VIP", []string{"D17", "D18", "D16", "D05", "D06", "D07", "D25"}, "vipd cannot campaign: no credentials, no API server, no interface, or kube-vip is in its way"},
	{"a new machine has the address of the VIP", []string{"D11", "D09"}, "the IP pool contains the VIP and does not exclude it"},
	{"a new machine cannot be reached at its address, for a while", []string{"D12"}, "it has that of a machine that was just deleted"},
	{"vipd's manifest on a machine is not what was written", []string{"D30"}, "cloud-init took braces for Jinja, or the file is another cluster's"},
	{"the lease names a machine that is gone, or none of ours", []string{"D18"}, "no vipd runs or may write the Lease; or an old machine still does"},
	{"cloud-init reports errors, and the node has its network", []string{"D31", "D22"}, "it did not wait for the network, as CAPV tells it for static addresses"},
	{"the gateway or the address is gone after a reboot", []string{"D22", "D01"}, "another NetworkManager profile than cloud-init's was taken"},
	{"INTERNAL-IP of a node is the VIP", []string{"D26"}, "kubelet was started without --node-ip while the node held the VIP"},
	{"leases.coordination.k8s.io \"plndr-cp-lock\" is forbidden", []string{"D17"}, "vipd's RoleBinding is missing, or admin.conf has no rights yet"},
	{"there is no vipd pod, though its manifest is there", []string{"D28", "D20"}, "kubelet refuses the manifest, or runs a backup of it"},
	{"static pods may not reference serviceaccounts", []string{"D28"}, "kubelet 1.34 and later refuse a static pod that refers to API objects"},
	{"permission denied on a file that root may read", []string{"D20"}, "SELinux confines the container"},
	{"a machine stays in Provisioned and never becomes a node", []string{"D29", "D14", "D01"}, "kubeadm still waits, or has failed"},
	{"kubeadm init waits for the control plane and gives up", []string{"D16", "D17", "D25", "D29"}, "the API server does not come up, or nobody may take the VIP yet"},
	{"the VIP answers in its own subnet only", []string{"D01", "D02", "D03", "D21"}, "answers to clients beyond it do not get out"},
	{"the VIP answers some clients, or sometimes", []string{"D09", "D10", "D23", "D04"}, "two machines have it"},
	{"the VIP is lost now and then, and comes back by itself", []string{"D23", "D09"}, "another machine claims it at times: an earlier manager, another cluster"},
	{"after a failover the VIP stays dark for some clients, for up to minutes", []string{"D24"}, "a switch drops gratuitous ARP: SpoofGuard, ARP inspection, another port group"},
	{"the VIP answers on the node that holds it, and nobody else", []string{"D19"}, "that node's firewall: what comes by the loopback passes it"},
	{"the VIP answers nobody, though a node holds it", []string{"D19", "D07", "D08", "D21", "D14"}, "ARP cannot work for this address, or a firewall drops"},
}
