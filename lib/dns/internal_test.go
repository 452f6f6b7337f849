package dns

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "search x.test\nnameserver 192.0.2.1\nnameserver bad\nnameserver ::1\noptions ndots:5 timeout:3 attempts:9 trust-ad\n" +
		"nameserver 192.0.2.2\nnameserver 192.0.2.3\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newClient(Settings{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.servers) != 3 || c.servers[1] != netip.MustParseAddrPort("[::1]:53") || c.timeout != 3*time.Second || c.attempts != 5 || !c.authentic {
		t.Errorf("%+v", c)
	}
	// The options of the file say nothing about servers of main.cf.
	c, err = newClient(Settings{Servers: []string{"192.0.2.9"}}, path)
	if err != nil || c.authentic || c.attempts != defaultAttempts {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = newClient(Settings{}, path+".none")
	if err != nil || len(c.servers) != 1 || c.servers[0] != netip.MustParseAddrPort("127.0.0.1:53") {
		t.Errorf("%+v, %v", c, err)
	}
}

// liar answers each datagram with what reply makes of it.
func liar(t *testing.T, reply func(*dns.Msg) [][]byte) *client {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			for _, b := range reply(q) {
				pc.WriteTo(b, from)
			}
		}
	}()
	return &client{servers: []netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()}, timeout: 5 * time.Second, attempts: 1}
}

func pack(t *testing.T, m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

func address(name, addr string) dns.RR {
	rr, err := dns.NewRR(name + " 60 IN A " + addr)
	if err != nil {
		panic(err)
	}
	return rr
}

func TestForgedRepliesArePassedOver(t *testing.T) {
	c := liar(t, func(q *dns.Msg) [][]byte {
		good := new(dns.Msg).SetReply(q)
		good.Answer = []dns.RR{address("a.test.", "192.0.2.1")}
		otherID := good.Copy()
		otherID.Id++
		otherID.Answer = []dns.RR{address("a.test.", "192.0.2.66")}
		otherName := good.Copy()
		otherName.Question[0].Name = "b.test."
		return [][]byte{pack(t, otherID), pack(t, otherName), {1, 2, 3}, pack(t, good)}
	})
	reply, err := c.ask(t.Context(), "a.test", dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	a := interpret(reply, "a.test", dns.TypeA)
	if len(a.records) != 1 || a.records[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Errorf("%+v", a)
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	c := liar(t, func(q *dns.Msg) [][]byte {
		reply := new(dns.Msg).SetReply(q)
		if q.IsEdns0() != nil {
			reply.Rcode = dns.RcodeFormatError
			reply.Question = nil
		} else {
			reply.Answer = []dns.RR{address("a.test.", "192.0.2.1")}
		}
		return [][]byte{pack(t, reply)}
	})
	reply, err := c.ask(t.Context(), "a.test", dns.TypeA)
	if err != nil || len(reply.Answer) != 1 {
		t.Fatalf("%v, %v", reply, err)
	}
}

func TestAnswerForAnotherOwnerIsNoAnswer(t *testing.T) {
	c := liar(t, func(q *dns.Msg) [][]byte {
		reply := new(dns.Msg).SetReply(q)
		reply.Answer = []dns.RR{address("b.test.", "192.0.2.66")}
		return [][]byte{pack(t, reply)}
	})
	reply, err := c.ask(t.Context(), "a.test", dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	if a := interpret(reply, "a.test", dns.TypeA); a.kind != ErrNoData {
		t.Errorf("%+v", a)
	}
}

// A chain that the server gives step by step is authentic when every step is.
func TestChainOverSeveralQuestions(t *testing.T) {
	for _, bogus := range []string{"", "b.test.", "c.test."} {
		c := liar(t, func(q *dns.Msg) [][]byte {
			reply := new(dns.Msg).SetReply(q)
			name := q.Question[0].Name
			reply.AuthenticatedData = name != bogus
			switch name {
			case "a.test.":
				rr, _ := dns.NewRR("a.test. 60 IN CNAME b.test.")
				reply.Answer = []dns.RR{rr}
			case "b.test.":
				rr, _ := dns.NewRR("b.test. 60 IN CNAME c.test.")
				reply.Answer = []dns.RR{rr}
			default:
				reply.Answer = []dns.RR{address("c.test.", "192.0.2.1")}
			}
			return [][]byte{pack(t, reply)}
		})
		c.authentic = true
		r := &resolver{client: c, cache: &cache{all: make(map[question]cached), now: time.Now}}
		for range 2 { // the second time from the cache
			addrs, res, err := r.Addrs(t.Context(), "a.test", true, false)
			if err != nil || len(addrs) != 1 || res.Authentic != (bogus == "") {
				t.Errorf("bogus %q: %v, %v, %v", bogus, addrs, res, err)
			}
		}
	}
}

func TestCacheExpiresAndIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := &cache{all: make(map[question]cached), now: func() time.Time { return now }}
	q := question{"a.test.", dns.TypeA}
	c.put(q, answer{ttl: 2 * time.Second})
	now = now.Add(time.Second)
	if _, ok := c.get(q); !ok {
		t.Error("gone too early")
	}
	now = now.Add(time.Second)
	if _, ok := c.get(q); ok {
		t.Error("kept past its TTL")
	}
	for i := range 3 * maxCached {
		c.put(question{"a.test.", uint16(i)}, answer{ttl: time.Hour})
	}
	if len(c.all) > maxCached {
		t.Errorf("%d answers kept", len(c.all))
	}
}

// Whatever a server sends: no panic, and every record that is used answers the
// question at the end of a chain that starts at the name.
func FuzzReply(f *testing.F) {
	query := (&client{}).query("a.test", dns.TypeMX, true)
	query.Id = 0x1234
	good := new(dns.Msg).SetReply(query)
	rr, _ := dns.NewRR("a.test. 60 IN MX 10 mx.test.")
	cname, _ := dns.NewRR("a.test. 60 IN CNAME b.test.")
	good.Answer = []dns.RR{rr, cname}
	b, _ := good.Pack()
	f.Add(b)
	good.Truncated = true
	b, _ = good.Pack()
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply, err := parseReply(packet, query)
		if err != nil {
			return
		}
		a := interpret(reply, "a.test", dns.TypeMX)
		if len(a.records) > MaxRecords || a.ttl > maxTTL {
			t.Fatalf("%d records, ttl %v", len(a.records), a.ttl)
		}
		for _, rr := range a.records {
			if rr.Header().Rrtype != dns.TypeMX {
				t.Fatalf("record of type %d", rr.Header().Rrtype)
			}
		}
		if a.next != "" && !ValidHostname(a.next) {
			t.Fatalf("chain to %q", a.next)
		}
	})
}
