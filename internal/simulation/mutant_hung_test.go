package simulation

import "github.com/vipd-io/vipd/pkg/vip"

// removalWaits removes the address only after the fence has answered.
func removalWaits(_ *process, s *dependencies) { s.network = behind{s.network, s.fence} }

type behind struct {
	vip.Network
	fence fence
}

func (b behind) Remove() error {
	_ = b.fence.Forbid()
	return b.Network.Remove()
}
