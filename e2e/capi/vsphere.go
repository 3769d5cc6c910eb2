package capi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// A VCenter is a simulated one (capi/vsphere/vcsim), in which CAPV makes machines. No machine runs.
type VCenter struct {
	// Server is the address for CAPV.
	Server string

	control string // the address of the program's HTTP server
}

// A VM is a machine in the vCenter.
type VM struct {
	Name, UUID string
	On         bool
	// Guestinfo is what the guest can read, by the name after "guestinfo.".
	Guestinfo map[string]string
	MACs      []string
	// Address is what the guest reported, "" for nothing.
	Address string
	// Template is the name of what it was cloned from.
	Template string
}

// credentials are CAPV's for the vCenter, which accepts any.
const credentials = "username: user\npassword: pass\n"

// startVCenter starts the vCenter, and writes CAPV's credentials for it.
func (m *Management) startVCenter(ctx context.Context, bin Binaries) error {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return err
	}
	m.VCenter.Server, m.VCenter.control = local(ports[0]), local(ports[1])
	if err := m.startProgram("vcsim", bin.programs["vcsim"], nil, m.VCenter.Server, m.VCenter.control); err != nil {
		return err
	}
	if err := m.programs[len(m.programs)-1].serves(ctx, loopback, ports[0]); err != nil {
		return fmt.Errorf("wait for vcsim: %w", err)
	}
	return os.WriteFile(m.credentials(), []byte(credentials), 0o600)
}

func (m *Management) credentials() string { return filepath.Join(m.Dir, "vsphere-credentials.yaml") }

const loopback = "127.0.0.1"

// freePorts returns ports on the loopback interface that nothing listens on.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	var held []net.Listener // until the last one: so the ports differ
	for range n {
		l, e := new(net.ListenConfig).Listen(ctx, "tcp", local(0))
		if e != nil {
			err = fmt.Errorf("find free port: %w", e)
			break
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range held {
		err = errors.Join(err, l.Close())
	}
	return ports, err
}

func local(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// call sends a request to the program, and returns the body of its answer.
func (v VCenter) call(ctx context.Context, method string, path ...string) ([]byte, error) {
	target := (&url.URL{Scheme: "http", Host: v.control}).JoinPath(path...).String()
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask vCenter: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("ask vCenter: %s %s: %w: %s", method, target, err, body)
	}
	return body, nil
}

// Machines returns all machines.
func (v VCenter) Machines(ctx context.Context) (all []VM, err error) {
	body, err := v.call(ctx, http.MethodGet, "machines")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("read machines of vCenter: %w", err)
	}
	return all, nil
}

// SetAddress reports the address of a machine, as the tools in the guest do.
func (v VCenter) SetAddress(ctx context.Context, uuid, address string) error {
	_, err := v.call(ctx, http.MethodPost, "machines", uuid, "address", address)
	return err
}

// PowerOff cuts the power of a machine.
func (v VCenter) PowerOff(ctx context.Context, uuid string) error {
	_, err := v.call(ctx, http.MethodPost, "machines", uuid, "off")
	return err
}
