package memcache

import (
	"net"

	"sealpost/lib/dbclient"
)

// address is the one server. It is dialled by name, so that the name is resolved for each
// connection: the library's own list resolves once, and proxymap lives long.
type address struct{ network, text string }

// serverOf is the server that a value of the parameter memcache names.
func serverOf(word string) address {
	network, text := dbclient.Address(word, defaultPort)
	return address{network, text}
}

// Network and String implement net.Addr.
func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }

// PickServer implements memcache.ServerSelector.
func (a address) PickServer(string) (net.Addr, error) { return a, nil }

// Each implements memcache.ServerSelector.
func (a address) Each(f func(net.Addr) error) error { return f(a) }
