package doctor

// Symptom is an observation that operators search for.
type Symptom struct {
	// Seen is the observation in the operator's words, or an error message.
	Seen string
	// Checks are the IDs of the checks that find the cause, the most likely first.
	Checks []string
	// Means is the most frequent cause.
	Means string
}

// Symptoms are the known symptoms: of a machine, in error messages, of the cluster.
var Symptoms = []Symptom{
	{"VM has an IP but cannot ping the gateway", []string{"D02", "D03", "D06"}, "the gateway or prefix of the IP pool, or the VM's port group or VLAN, is wrong"},
	{"`ip route` shows no `default via`", []string{"D01", "D11"}, "the IP pool has no gateway, or a NetworkManager profile of the VM template has none"},
	{"nmtui shows an empty gateway", []string{"D01", "D22", "D04"}, "the IP pool has no gateway, or nmtui shows a profile that competes with cloud-init's"},
	{"CAPV: cluster is not reachable / no route to host", []string{"D14", "D01", "D16"},
		"the management cluster cannot connect to the VIP: no node holds the VIP yet, or a holder without a default route cannot answer"},
	{"workers cannot join: VIP or its DNS name out of reach", []string{"D13", "D14", "D15", "D19"}, "the name does not resolve to the VIP, or a firewall on the holder blocks; run the doctor on the worker, with --worker"},

	{"no route to host, after 3 seconds", []string{"D14", "D05", "D06", "D17"}, "no machine answers ARP for the VIP: no node holds the VIP"},
	{"no route to host, at once", []string{"D14", "D19"}, "the holder's firewall rejects the port, as firewalld does"},
	{"connection refused", []string{"D14", "D16"}, "a node holds the VIP, and its API server does not run"},
	{"context deadline exceeded, i/o timeout", []string{"D14", "D01", "D21"}, "packets are dropped on the path, or the holder has no return route (no default route)"},
	{"net/http: TLS handshake timeout", []string{"D15", "D16"}, "the API server of the holder hangs, or large packets are lost on the path (MTU)"},
	{"network is unreachable", []string{"D01", "D07"}, "this machine has no route to the VIP"},
	{"x509: certificate signed by unknown authority", []string{"D15", "D09"}, "another cluster or another machine has the VIP"},
	{"x509: certificate is valid for X, not Y", []string{"D15"}, "the VIP or its DNS name is missing in certSANs"},
	{"x509: certificate has expired or is not yet valid", []string{"D15", "D27", "D17"}, "a certificate has expired, or a clock is wrong"},
	{"no such host", []string{"D13"}, "the name has no record or ends in .local, or the name server is unreachable"},
	{"kubeadm: cannot use \"0.0.0.0\" as the bind address", []string{"D01"}, "the node has no default route"},

	{"nobody holds the VIP", []string{"D17", "D18", "D16", "D05", "D06", "D07", "D25"}, "vipd cannot campaign: no credentials, no API server, no interface, or kube-vip is still there"},
	{"a new machine has the address of the VIP", []string{"D11", "D09"}, "the IP pool contains the VIP, and does not exclude the VIP"},
	{"a new machine cannot be reached at its address, for a while", []string{"D12"}, "the machine has the address of a machine that was just deleted"},
	{"vipd's manifest on a machine is not what was written", []string{"D30"}, "cloud-init interpreted braces as Jinja, or the file belongs to another cluster"},
	{"the Lease names a machine that is gone or unknown", []string{"D18"}, "no vipd runs or can write the Lease, or a removed machine still renews the Lease"},
	{"cloud-init reports errors, and the node has its network", []string{"D31", "D22"}, "cloud-init did not wait for the network, as CAPV configures it for static addresses"},
	{"the gateway or the address is gone after a reboot", []string{"D22", "D01"}, "NetworkManager activated another profile than cloud-init's"},
	{"INTERNAL-IP of a node is the VIP", []string{"D26"}, "kubelet started without --node-ip while the node held the VIP"},
	{"leases.coordination.k8s.io \"plndr-cp-lock\" is forbidden", []string{"D17"}, "vipd's RoleBinding is missing, or admin.conf has no permissions yet"},
	{"there is no vipd pod, although its manifest exists", []string{"D28", "D20"}, "kubelet refuses the manifest, or runs a backup of the manifest"},
	{"static pods may not reference serviceaccounts", []string{"D28"}, "kubelet 1.34 and later refuse a static pod that refers to API objects"},
	{"permission denied on a file that root can read", []string{"D20"}, "SELinux confines the container"},
	{"a machine stays in Provisioned and never becomes a node", []string{"D29", "D14", "D01"}, "kubeadm is waiting, or has failed"},
	{"CAPV clones the VM and does not turn it on", []string{"D33"}, "the gateways of the VSphereMachineTemplate and of the IP pool differ"},
	{"kubeadm init waits for the control plane and gives up", []string{"D16", "D17", "D25", "D29"}, "the API server does not start, or no node can take the VIP yet"},
	{"the VIP answers in its own subnet only", []string{"D01", "D02", "D03", "D21"}, "answers to clients in other subnets are lost"},
	{"the VIP answers only some clients, or only at times", []string{"D09", "D10", "D23", "D04"}, "two machines have the VIP"},
	{"the VIP fails at times, and recovers by itself", []string{"D23", "D09"}, "another machine claims the VIP at times: an earlier VIP manager, another cluster"},
	{"after a failover some clients cannot reach the VIP, for up to minutes", []string{"D24"}, "a switch drops gratuitous ARP: SpoofGuard, ARP inspection, another port group"},
	{"the VIP answers outside of the cluster, and not on nodes or in pods", []string{"D32", "D08"}, "the VIP is in the Service CIDR or the pod CIDR of the cluster"},
	{"the VIP answers only on the holder itself", []string{"D19"}, "the holder's firewall, which does not filter loopback traffic"},
	{"the VIP answers nobody, although a node holds the VIP", []string{"D19", "D07", "D08", "D21", "D14"}, "ARP cannot work for this address, or a firewall drops packets"},
}
