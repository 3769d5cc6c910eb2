package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SaveEtcd copies the data of all members, as they are at one moment, into a
// folder that it makes.
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

// RestoreEtcd puts back what SaveEtcd saved, as after a disaster: etcd and the
// API servers are ended before and started afterwards.
func (l *Lab) RestoreEtcd(ctx context.Context, dir string) error {
	var procs []*Process
	for _, n := range l.Nodes {
		procs = append(procs, n.APIServer, n.Etcd)
	}
	if err := killProcesses(procs...); err != nil {
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
