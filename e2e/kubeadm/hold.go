package kubeadm

// hold pauses the kubelet, which would start a container that has ended, until release.
func (m *Machine) hold(container string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.held) == 0 && m.Kubelet.Running() {
		if _, err := m.Kubelet.Pause(); err != nil {
			return err
		}
	}
	m.held[container] = true
	return nil
}

// release undoes hold. The result tells whether the kubelet runs, because no other container
// is held.
func (m *Machine) release(container string) (goesOn bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.held[container] {
		return len(m.held) == 0, nil
	}
	delete(m.held, container)
	if len(m.held) > 0 || !m.Kubelet.Running() {
		return false, nil
	}
	_, err = m.Kubelet.Resume()
	return err == nil, err
}
