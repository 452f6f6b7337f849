package dns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
)

const zone = `
one.test        MX 10 mx1.test
                MX 20 mx2.test
null.test       MX 0 .
literal.test    MX 0 192.0.2.7
badmx.test      MX 0 a@b.test
mx1.test        A 192.0.2.1
                AAAA 2001:db8::1
mx2.test        A 192.0.2.2
alias.test      CNAME mx2.test
out.test        CNAME far.test
loop1.test      CNAME loop2.test
loop2.test      CNAME loop1.test
self.test       CNAME self.test
*.wild.test     A 192.0.2.9
fail.test       A 192.0.2.3
slow.test       A 192.0.2.3
cut.test        A 192.0.2.4
half.test       A 192.0.2.5
signed.test     MX 0 mx1.test
1.2.0.192.in-addr.arpa  PTR mx1.test
2.2.0.192.in-addr.arpa  PTR bad\010name.test
`

func config() dnstest.Config {
	return dnstest.Config{
		Zone: zone, Fail: []string{"fail.test", "half.test/AAAA"},
		Timeout: []string{"slow.test"}, Truncate: []string{"cut.test"},
		Authentic: []string{"signed.test", "mx1.test"},
	}
}

func TestLookup(t *testing.T) {
	server := dnstest.New(t, config())
	r := server.Resolver()
	ctx := context.Background()
	mx := func(domain string) (string, dns.Result, error) {
		list, res, err := r.MX(ctx, domain)
		var b strings.Builder
		for _, m := range list {
			b.WriteString(strconv.Itoa(int(m.Pref)) + " " + m.Host + ";")
		}
		return b.String(), res, err
	}
	addrs := func(host string) (string, dns.Result, error) {
		list, res, err := r.Addrs(ctx, host, true, true)
		var b strings.Builder
		for _, a := range list {
			b.WriteString(a.String() + ";")
		}
		return b.String(), res, err
	}
	ptr := func(addr string) (string, dns.Result, error) {
		list, res, err := r.PTR(ctx, netip.MustParseAddr(addr))
		return strings.Join(list, ";"), res, err
	}
	long := strings.Repeat("a", 63)
	for _, tc := range []struct {
		name   string
		lookup func(string) (string, dns.Result, error)
		arg    string
		want   string
		auth   bool
		kind   error
		text   string
	}{
		{"MX list", mx, "one.test", "10 mx1.test;20 mx2.test;", false, nil, ""},
		{"case and final dot", mx, "ONE.test.", "10 mx1.test;20 mx2.test;", false, nil, ""},
		{"null MX", mx, "null.test", "0 ;", false, nil, ""},
		{"MX is an address", mx, "literal.test", "0 192.0.2.7;", false, nil, ""},
		{"authentic MX", mx, "signed.test", "0 mx1.test;", true, nil, ""},
		{"MX with @", mx, "badmx.test", "", false, dns.ErrMalformed,
			"Name service error for name=badmx.test type=MX: Malformed or unexpected name server reply"},
		{"no such domain", mx, "nosuch.test", "", false, dns.ErrNotFound,
			"Host or domain name not found. Name service error for name=nosuch.test type=MX: Host not found"},
		{"no MX here", mx, "mx2.test", "", false, dns.ErrNoData,
			"Host or domain name not found. Name service error for name=mx2.test type=MX: Host found but no data record of requested type"},
		{"server failure", mx, "fail.test", "", false, dns.ErrTemporary,
			"Host or domain name not found. Name service error for name=fail.test type=MX: Host not found, try again"},
		{"both families", addrs, "mx1.test", "192.0.2.1;2001:db8::1;", true, nil, ""},
		{"one family", addrs, "mx2.test", "192.0.2.2;", false, nil, ""},
		{"alias", addrs, "alias.test", "192.0.2.2;", false, nil, ""},
		{"wildcard", addrs, "x.wild.test", "192.0.2.9;", false, nil, ""},
		{"TCP after truncation", addrs, "cut.test", "192.0.2.4;", false, nil, ""},
		{"one family fails", addrs, "half.test", "192.0.2.5;", false, nil, ""},
		{"address", addrs, "192.0.2.77", "192.0.2.77;", false, nil, ""},
		{"alias to nowhere", addrs, "out.test", "", false, dns.ErrNotFound,
			"Host or domain name not found. Name service error for name=out.test type=AAAA: Host not found"},
		{"alias loop", addrs, "loop1.test", "", false, dns.ErrMalformed,
			"Name server loop for loop1.test"},
		{"alias of itself", addrs, "self.test", "", false, dns.ErrMalformed, ""},
		{"NUL in name", addrs, "a\x00b.test", "", false, dns.ErrNotFound,
			"Name service error for a\x00b.test: invalid host or domain name"},
		{"blank in name", mx, "a b.test", "", false, dns.ErrNotFound, ""},
		{"@ in name", mx, "a@b.test", "", false, dns.ErrNotFound, ""},
		{"label of 63", mx, long + ".test", "", false, dns.ErrNotFound,
			"Host or domain name not found. Name service error for name=" + long + ".test type=MX: Host not found"},
		{"label of 64", mx, "a" + long + ".test", "", false, dns.ErrNotFound,
			"Name service error for a" + long + ".test: invalid host or domain name"},
		{"name of 255", mx, strings.Repeat(long+".", 3) + long, "", false, dns.ErrNotFound, ""},
		{"PTR", ptr, "192.0.2.1", "mx1.test", false, nil, ""},
		{"PTR with newline", ptr, "192.0.2.2", "", false, dns.ErrMalformed, ""},
		{"no PTR", ptr, "192.0.2.3", "", false, dns.ErrNotFound, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, res, err := tc.lookup(tc.arg)
			if got != tc.want || !errors.Is(err, tc.kind) || err == nil && res.Authentic != tc.auth {
				t.Fatalf("got %q, %v, %v; want %q, authentic %v, %v", got, res, err, tc.want, tc.auth, tc.kind)
			}
			if tc.text != "" && err.Error() != tc.text {
				t.Errorf("text %q\nwant %q", err, tc.text)
			}
		})
	}
}

func TestAnswersAreKept(t *testing.T) {
	server := dnstest.New(t, config())
	r := server.Resolver()
	for range 3 {
		if _, _, err := r.MX(t.Context(), "one.test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.MX(t.Context(), "nosuch.test"); !errors.Is(err, dns.ErrNotFound) {
			t.Fatal(err)
		}
		r.MX(t.Context(), "fail.test")
	}
	if n := server.Asked("one.test", "MX"); n != 1 {
		t.Errorf("asked %d times for an answer with a TTL", n)
	}
	if n := server.Asked("nosuch.test", "MX"); n != 1 {
		t.Errorf("asked %d times for a name that does not exist", n)
	}
	if n := server.Asked("fail.test", "MX"); n < 3 {
		t.Errorf("asked %d times: a failure was kept", n)
	}
}

func TestHundredRecordsAtMost(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString("big.test MX " + strconv.Itoa(i) + " mx" + strconv.Itoa(i) + ".test\n")
	}
	r := dnstest.New(t, dnstest.Config{Zone: b.String()}).Resolver()
	list, _, err := r.MX(t.Context(), "big.test")
	if err != nil || len(list) != dns.MaxRecords {
		t.Fatalf("%d records, %v; want %d", len(list), err, dns.MaxRecords)
	}
}

func TestTimeoutEndsWithContext(t *testing.T) {
	r := dnstest.New(t, config()).Resolver()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := r.MX(ctx, "slow.test")
	if !errors.Is(err, dns.ErrTemporary) || time.Since(start) > 3*time.Second {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
}

func TestNextServerIsAsked(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.LocalAddr().String()
	closed.Close()
	failing := dnstest.New(t, dnstest.Config{Fail: []string{"*"}})
	good := dnstest.New(t, config())
	r, err := dns.New(dns.Settings{Servers: []string{dead, failing.Addr(), good.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	list, res, err := r.MX(t.Context(), "signed.test")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if res.Authentic {
		t.Error("AD believed without dns_servers_authentic")
	}
}

func TestBadServerSetting(t *testing.T) {
	for _, s := range []string{"ns.example", "127.0.0.1:", "127.0.0.1:99999", "[::1", "127.0.0.1:0"} {
		if _, err := dns.New(dns.Settings{Servers: []string{s}}); err == nil || !strings.Contains(err.Error(), strconv.Quote(s)) {
			t.Errorf("%s: error %v does not name it", s, err)
		}
	}
	for s, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:53", "127.0.0.1:5353": "127.0.0.1:5353",
		"::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:5353": "[::1]:5353",
	} {
		if got, err := dns.ParseServer(s); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", s, got, err, want)
		}
	}
}

func TestHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	text := "# table\n::1 both.test\n127.0.0.9 both.test Other # x\nnonsense line\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := dns.LoadHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		v4, v6 bool
		want   string
	}{
		{"both.test", true, true, "127.0.0.9 ::1"},
		{"BOTH.test.", true, false, "127.0.0.9"},
		{"other", true, true, "127.0.0.9"},
		{"localhost", true, true, "127.0.0.1 ::1"},
		{"nosuch", true, true, ""},
	} {
		var got []string
		for _, a := range h.Lookup(tc.name, tc.v4, tc.v6) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
	}
}
