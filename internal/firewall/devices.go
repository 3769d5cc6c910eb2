package firewall

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// hookDevices is NFTA_HOOK_DEVS (include/uapi/linux/netfilter/nf_tables.h).
const hookDevices = 4

// devicesOf returns the interfaces of a base chain of the family netdev, which Conn.ListChains omits.
func (r *ruleset) devicesOf(k chainKey) (out []string, err error) {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_CHAIN_TABLE, Data: []byte(k.table + "\x00")},
		{Type: unix.NFTA_CHAIN_NAME, Data: []byte(k.name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	msgs, err := r.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: netlink.Request},
		Data:   append([]byte{byte(k.family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil && !errors.Is(err, unix.ENOENT) { // the chain was deleted meanwhile
		return nil, fmt.Errorf("read chain %s %s: %w", k.table, k.name, err)
	}
	for _, m := range msgs {
		names, err := decodeDevices(m.Data)
		if err != nil {
			return nil, fmt.Errorf("read chain %s %s: %w", k.table, k.name, err)
		}
		out = append(out, names...)
	}
	return out, nil
}

// decodeDevices reads the interfaces in a chain: one, or a list.
func decodeDevices(data []byte) (out []string, err error) {
	if len(data) < 4 {
		return nil, errors.New("no header")
	}
	ad, err := netlink.NewAttributeDecoder(data[4:])
	if err != nil {
		return nil, err
	}
	for ad.Next() {
		if ad.Type() != unix.NFTA_CHAIN_HOOK {
			continue
		}
		ad.Nested(func(hook *netlink.AttributeDecoder) error {
			for hook.Next() {
				switch hook.Type() {
				case unix.NFTA_HOOK_DEV:
					out = append(out, hook.String())
				case hookDevices:
					hook.Nested(func(list *netlink.AttributeDecoder) error {
						for list.Next() {
							out = append(out, list.String())
						}
						return nil
					})
				}
			}
			return nil
		})
	}
	return out, ad.Err()
}
