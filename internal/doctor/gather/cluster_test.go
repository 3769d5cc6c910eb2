package gather

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/vipd-io/vipd/internal/doctor"
)

// TestInspectError: a certificate that is not valid now is no sign of another cluster.
func TestInspectError(t *testing.T) {
	for _, test := range []struct {
		err       error
		untrusted bool
	}{
		{x509.CertificateInvalidError{Reason: x509.Expired}, false},
		{x509.UnknownAuthorityError{}, true},
	} {
		got := inspectError(fmt.Errorf("get lease: %w", &tls.CertificateVerificationError{Err: test.err}))
		if errors.Is(got, doctor.ErrUntrusted) != test.untrusted || errors.Is(got, doctor.ErrNoAnswer) {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}
