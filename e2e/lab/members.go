package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// An EtcdMember is a member as etcd lists it. A member that never ran has no name.
type EtcdMember struct {
	ID       string
	Name     string
	PeerURLs []string
}

// EtcdMembers lists the members of etcd by a call to the member on the host, with the certificates in
// kubeadm's folder pki.
func (h *Host) EtcdMembers(ctx context.Context, pki string) ([]EtcdMember, error) {
	var list struct{ Members []EtcdMember }
	err := h.callEtcd(ctx, pki, "cluster/member/list", struct{}{}, &list)
	return list.Members, err
}

func (n *Node) peerURL() string { return fmt.Sprintf("https://%s:2380", n.IP) }

// RemoveFromEtcd removes the node's member from etcd, by a call to another node's member. The
// process of a removed member ends by itself.
func (n *Node) RemoveFromEtcd(ctx context.Context, via *Node) error {
	members, err := via.EtcdMembers(ctx, via.PKI())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m EtcdMember) bool { return slices.Contains(m.PeerURLs, n.peerURL()) })
	if i < 0 {
		return fmt.Errorf("remove %s from etcd: it is no member", n.Name)
	}
	return via.callEtcd(ctx, "cluster/member/remove", map[string]string{"ID": members[i].ID}, &struct{}{})
}

// AddToEtcd adds the node's member to etcd, by a call to another node's member. The member counts
// for the quorum from then on; JoinEtcd starts it.
func (n *Node) AddToEtcd(ctx context.Context, via *Node) error {
	return via.callEtcd(ctx, "cluster/member/add", map[string][]string{"peerURLs": {n.peerURL()}}, &struct{}{})
}

// JoinEtcd deletes the data of the node's member and starts it as a new member beside the given
// ones, as kubeadm join does after AddToEtcd. Etcd.Start uses the same flags from then on.
func (n *Node) JoinEtcd(members ...*Node) error {
	if err := os.RemoveAll(n.etcdData()); err != nil {
		return fmt.Errorf("join etcd: %w", err)
	}
	var cluster []string
	for _, m := range append([]*Node{n}, members...) {
		cluster = append(cluster, m.Name+"="+m.peerURL())
	}
	return n.startEtcd("--initial-cluster="+strings.Join(cluster, ","), "--initial-cluster-state=existing")
}

// ForceNewEtcd kills the node's member, and starts it as the only member of a new cluster with the
// same data: what an administrator does who has lost the majority for good. Etcd.Start uses the
// same flags from then on.
func (n *Node) ForceNewEtcd() error {
	if _, err := n.Etcd.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return n.startEtcd("--force-new-cluster")
}

// startEtcd starts etcd with flags that override the earlier ones.
func (n *Node) startEtcd(extra ...string) error {
	p, err := n.own(n.Etcd)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(slices.Concat(p.argv, extra))
}
