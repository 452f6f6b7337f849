package table

import (
	"context"
	"net/netip"
	"testing"
)

func BenchmarkMatchHost(b *testing.B) {
	l, err := OpenList(Env{}, "mynetworks", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [fe80::]/64", Hosts, true)
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.MustParseAddr("192.0.2.9")
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := l.MatchHost(context.Background(), "host.example", addr); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkMatchDomain(b *testing.B) {
	l, err := OpenList(Env{}, "mydestination", "mx.example.com, localhost.example.com, localhost", Domains, false)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := l.Match(context.Background(), "other.example.net"); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkFindAddr(b *testing.B) {
	m := OpenMaps(Env{}, "virtual_alias_maps", "inline:{a@example.com=b}")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, found, err := m.FindAddr(context.Background(), "user@example.com", AddrSearch{Delimiters: "+"}); found || err != nil {
			b.Fatal(found, err)
		}
	}
}
