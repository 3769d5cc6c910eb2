package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SaveEtcd copies the data of all members, as of one moment, into a folder that it creates.
func (l *Lab) SaveEtcd(dir string) (err error) {
	defer func() {
		for _, n := range l.Nodes {
			_, resumed := n.Etcd.Resume()
			err = errors.Join(err, resumed)
		}
	}()
	for _, n := range l.Nodes {
		if _, err := n.Etcd.Pause(); err != nil {
			return fmt.Errorf("save etcd: %w", err)
		}
	}
	for _, n := range l.Nodes {
		if err := os.CopyFS(filepath.Join(dir, n.Name), os.DirFS(n.etcdData())); err != nil {
			return fmt.Errorf("save etcd: %w", err)
		}
	}
	return nil
}

// RestoreEtcd restores what SaveEtcd saved, as after a disaster: etcd and the API servers are
// killed before and started afterwards.
func (l *Lab) RestoreEtcd(ctx context.Context, dir string) error {
	var procs []Daemon
	for _, n := range l.Nodes {
		procs = append(procs, n.APIServer, n.Etcd)
	}
	if err := killDaemons(procs...); err != nil {
		return fmt.Errorf("restore etcd: %w", err)
	}
	for _, n := range l.Nodes {
		if err := os.RemoveAll(n.etcdData()); err != nil {
			return fmt.Errorf("restore etcd: %w", err)
		}
		if err := os.CopyFS(n.etcdData(), os.DirFS(filepath.Join(dir, n.Name))); err != nil {
			return fmt.Errorf("restore etcd: %w", err)
		}
	}
	return l.startServers(ctx)
}

func (n *Node) etcdData() string { return filepath.Join(n.Dir, "etcd") }
