package dns_test

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
)

const secureZone = `
mx.test             A     192.0.2.1
_25._tcp.mx.test    TLSA  3 1 1 000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F
                    TLSA  2 0 1 00
_26._tcp.mx.test    TLSA  3 1 1 00
alias.test          CNAME far.test
far.test            CNAME mx.test
broken.test         A     192.0.2.2
_25._tcp.alias2.test CNAME _25._tcp.mx.test
.                   NS    a.root.test
`

func TestTLSA(t *testing.T) {
	server := dnstest.New(t, dnstest.Config{Zone: secureZone, Fail: []string{"_25._tcp.broken.test"},
		Authentic: []string{"_25._tcp.mx.test", "_25._tcp.none.test"}})
	r := server.Resolver()
	list, res, err := r.TLSA(t.Context(), "_25._tcp.mx.test")
	if err != nil || !res.Authentic || len(list) != 2 || list[0].Usage != 3 || hex.EncodeToString(list[0].Data) != "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" {
		t.Errorf("%+v, %+v, %v", list, res, err)
	}
	if list, res, err = r.TLSA(t.Context(), "_26._tcp.mx.test"); err != nil || res.Authentic || len(list) != 1 {
		t.Errorf("%+v, %+v, %v", list, res, err)
	}
	if _, res, err = r.TLSA(t.Context(), "_25._tcp.none.test"); !errors.Is(err, dns.ErrNotFound) || !res.Authentic {
		t.Errorf("%+v, %v", res, err)
	}
	if _, _, err = r.TLSA(t.Context(), "_25._tcp.broken.test"); !errors.Is(err, dns.ErrTemporary) || !strings.Contains(err.Error(), "type=TLSA") {
		t.Errorf("%v", err)
	}
	if list, _, err = r.TLSA(t.Context(), "_25._tcp.alias2.test"); err != nil || len(list) != 2 {
		t.Errorf("behind a CNAME: %+v, %v", list, err)
	}
}

func TestCNAMESteps(t *testing.T) {
	server := dnstest.New(t, dnstest.Config{Zone: secureZone, Authentic: []string{"alias.test/CNAME", "far.test/A"}})
	r := server.Resolver()
	// The way as a whole is not authentic; its first step, asked for alone, is.
	addrs, res, err := r.Addrs(t.Context(), "alias.test", true, false)
	if err != nil || res.Authentic || res.Canonical != "mx.test" || len(addrs) != 1 || addrs[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("%v, %+v, %v", addrs, res, err)
	}
	target, res, err := r.CNAME(t.Context(), "alias.test")
	if err != nil || target != "far.test" || !res.Authentic {
		t.Errorf("%q, %+v, %v", target, res, err)
	}
	target, res, err = r.CNAME(t.Context(), "far.test")
	if err != nil || target != "mx.test" || res.Authentic {
		t.Errorf("%q, %+v, %v", target, res, err)
	}
	if _, _, err = r.CNAME(t.Context(), "mx.test"); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("%v", err)
	}
	if _, res, err = r.Addrs(t.Context(), "mx.test", true, false); err != nil || res.Canonical != "" {
		t.Errorf("%+v, %v", res, err)
	}
	if addrs, res, err = r.Addrs(t.Context(), "alias.test", true, true); err != nil || res.Canonical != "mx.test" || len(addrs) != 1 {
		t.Errorf("%v, %+v, %v", addrs, res, err)
	}
}

// Decision 46: an AD bit is worth something only from servers that were named so.
func TestADIsBelievedOnlyWhereSettingsSaySo(t *testing.T) {
	server := dnstest.New(t, dnstest.Config{Zone: secureZone, Authentic: []string{"*"}})
	for _, believed := range []bool{false, true} {
		r, err := dns.New(dns.Settings{Servers: []string{server.Addr()}, ServersAuthentic: believed, WantDNSSEC: true})
		if err != nil {
			t.Fatal(err)
		}
		_, addrs, err1 := r.Addrs(t.Context(), "mx.test", true, false)
		_, tlsa, err2 := r.TLSA(t.Context(), "_25._tcp.mx.test")
		_, cname, err3 := r.CNAME(t.Context(), "alias.test")
		probe := r.Probe(t.Context(), "ns:.")
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if addrs.Authentic != believed || tlsa.Authentic != believed || cname.Authentic != believed || (probe == nil) != believed {
			t.Errorf("dns_servers_authentic %v: %v %v %v, probe %v", believed, addrs, tlsa, cname, probe)
		}
	}
}

func TestProbe(t *testing.T) {
	server := dnstest.New(t, dnstest.Config{Zone: secureZone, Authentic: []string{"./NS"}, Fail: []string{"fail.test"}})
	r := server.Resolver()
	for probe, want := range map[string]string{
		"":             "",
		"ns:.":         "",
		"a:mx.test":    "dnssec_probe 'a:mx.test' received a response that is not DNSSEC validated",
		"mx:none.test": "dnssec_probe 'mx:none.test' received a response that is not DNSSEC validated",
	} {
		got := ""
		if err := r.Probe(t.Context(), probe); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q", probe, got)
		}
	}
	if err := r.Probe(t.Context(), "a:fail.test"); err == nil || !strings.HasPrefix(err.Error(), "dnssec_probe 'a:fail.test' received no response: ") {
		t.Errorf("%v", err)
	}
}
