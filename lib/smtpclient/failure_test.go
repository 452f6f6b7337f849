package smtpclient

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"sealpost/lib/route"
)

// A server that ends a session by a TLS alert gives a reason that a person can act on.
func TestBrokeNamesAlerts(t *testing.T) {
	host := route.Host{Name: "mx.test", Addr: netip.MustParseAddrPort("192.0.2.1:25")}
	for want, err := range map[string]error{
		"lost connection with mx.test[192.0.2.1] while performing the EHLO handshake": io.EOF,
		"lost connection with mx.test[192.0.2.1] while performing the EHLO handshake (remote error: tls: certificate required)": &net.OpError{
			Op: "remote error", Err: errors.New("tls: certificate required")},
	} {
		if got := Broke(host, err, "performing the EHLO handshake").Status.Reason; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
