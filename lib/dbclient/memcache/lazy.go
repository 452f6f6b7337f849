package memcache

import (
	"net"

	"github.com/bradfitz/gomemcache/memcache"
)

// lazy selects the one server. Its name is resolved again as long as that fails.
type lazy struct {
	list             *memcache.ServerList
	network, address string
}

// PickServer implements memcache.ServerSelector.
func (l *lazy) PickServer(key string) (net.Addr, error) {
	addr, err := l.list.PickServer(key)
	if err == nil {
		return addr, nil
	}
	if err := l.list.SetServers(l.address); err != nil {
		return nil, err
	}
	return l.list.PickServer(key)
}

// Each implements memcache.ServerSelector.
func (l *lazy) Each(f func(net.Addr) error) error { return l.list.Each(f) }
