// Package dnstest answers DNS questions for tests: Server is a name server on
// loopback with a zone written as master file text, Map is a dns.Resolver made
// of plain maps.
package dnstest

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"

	lib "sealpost/lib/dns"
)

// TTL of records that are written without one, in seconds.
const TTL = 60

// Config says what a Server answers. Names are case-insensitive, with or without
// trailing dot; an entry of a list is a name (all its types) or "name/TYPE". In
// zone text a name without trailing dot is complete all the same ("." is the origin).
type Config struct {
	Listen    string   // address:port for UDP and TCP; empty: 127.0.0.1:0
	Zone      string   // RFC 1035 §5 text; "*.domain" covers names without records
	Fail      []string // answered with SERVFAIL
	Timeout   []string // not answered
	Truncate  []string // cut over UDP, complete over TCP
	Authentic []string // answered with AD; "*" is every name, negative answers too
}

// Server is an authoritative server over all names.
type Server struct {
	udp, tcp *dns.Server
	addr     string

	mu    sync.Mutex
	conf  Config
	zone  map[string][]dns.RR
	asked map[string]int
}

// Start serves until Close.
func Start(c Config) (*Server, error) {
	s := &Server{asked: make(map[string]int)}
	if err := s.Set(c); err != nil {
		return nil, err
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	pc, ln, err := listen(c.Listen)
	if err != nil {
		return nil, err
	}
	s.addr = pc.LocalAddr().String()
	handler := dns.HandlerFunc(s.serve)
	s.udp = &dns.Server{PacketConn: pc, Handler: handler}
	s.tcp = &dns.Server{Listener: ln, Handler: handler}
	for _, server := range []*dns.Server{s.udp, s.tcp} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go server.ActivateAndServe() // ends with Close
		<-ready
	}
	return s, nil
}

// listen takes the same port for both protocols; with port 0 the TCP port may be
// in use, then another is tried.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	for try := 0; ; try++ {
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, ln, nil
		}
		pc.Close()
		if try == 20 {
			return nil, nil, err
		}
	}
}

// TB is the part of testing.TB that New needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// New starts a server for a test.
func New(t TB, c Config) *Server {
	t.Helper()
	s, err := Start(c)
	if err != nil {
		t.Fatalf("dnstest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Addr is the server's address:port, for dns_servers.
func (s *Server) Addr() string { return s.addr }

// Resolver asks this server alone and believes its AD bit.
func (s *Server) Resolver() lib.SecureResolver {
	r, err := lib.New(lib.Settings{Servers: []string{s.addr}, ServersAuthentic: true, WantDNSSEC: true})
	if err != nil {
		panic(err) // the address is our own
	}
	return r
}

// Set replaces what is answered; Listen is ignored.
func (s *Server) Set(c Config) error {
	zone := make(map[string][]dns.RR)
	p := dns.NewZoneParser(strings.NewReader(c.Zone+"\n"), ".", "zone")
	p.SetDefaultTTL(TTL)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := key(rr.Header().Name)
		zone[name] = append(zone[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf, s.zone = c, zone
	return nil
}

// Asked is how many questions for name and type ("MX") arrived.
func (s *Server) Asked(name, qtype string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key(name)+"/"+qtype]
}

// Close stops the server.
func (s *Server) Close() {
	s.udp.Shutdown()
	s.tcp.Shutdown()
}

func (s *Server) serve(w dns.ResponseWriter, query *dns.Msg) {
	if len(query.Question) != 1 {
		return
	}
	reply := s.answer(query, w.LocalAddr().Network() == "udp")
	if reply == nil {
		return
	}
	w.WriteMsg(reply) // a client that left is no concern of ours
}

func (s *Server) answer(query *dns.Msg, udp bool) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := query.Question[0]
	qtype := dns.TypeToString[q.Qtype]
	s.asked[key(q.Name)+"/"+qtype]++
	if listed(s.conf.Timeout, q.Name, qtype) {
		return nil
	}
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative, reply.RecursionAvailable = true, true
	if listed(s.conf.Fail, q.Name, qtype) {
		reply.Rcode = dns.RcodeServerFailure
		return reply
	}
	reply.AuthenticatedData = listed(s.conf.Authentic, q.Name, qtype)
	s.fill(reply, q)
	opt := query.IsEdns0()
	if opt != nil {
		reply.SetEdns0(4096, opt.Do())
	}
	if udp && listed(s.conf.Truncate, q.Name, qtype) {
		reply.Truncated, reply.Answer = true, nil
	} else if size := dns.MinMsgSize; udp {
		if opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		reply.Truncate(size)
	}
	return reply
}

// fill follows CNAMEs inside the zone, at most 32 steps.
func (s *Server) fill(reply *dns.Msg, q dns.Question) {
	name := q.Name
	for range 32 {
		records, exists := s.find(name)
		var target string
		for _, rr := range records {
			if rr.Header().Rrtype != q.Qtype && rr.Header().Rrtype != dns.TypeCNAME {
				continue
			}
			rr = dns.Copy(rr)
			rr.Header().Name = name
			reply.Answer = append(reply.Answer, rr)
			if cname, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				target = cname.Target
			}
		}
		if target == "" {
			if !exists {
				reply.Rcode = dns.RcodeNameError
			}
			if len(reply.Answer) == 0 || target == "" && reply.Rcode != 0 {
				reply.Ns = []dns.RR{soa()}
			}
			return
		}
		name = target
	}
}

// find gives the records of a name, or of the wildcard that covers it. A name
// exists when it has records or names below it.
func (s *Server) find(name string) ([]dns.RR, bool) {
	k := key(name)
	if records, ok := s.zone[k]; ok {
		return records, true
	}
	for owner := range s.zone {
		if strings.HasSuffix(owner, "."+k) {
			return nil, true
		}
	}
	for rest := k; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return nil, false
		}
		if records, ok := s.zone["*."+parent]; ok {
			return records, true
		}
		if _, ok := s.zone[parent]; ok {
			return nil, false
		}
		rest = parent
	}
}

func soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: TTL},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Minttl: TTL,
	}
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func listed(list []string, name, qtype string) bool {
	for _, entry := range list {
		entry, wantType, typed := strings.Cut(entry, "/")
		if (entry == "*" || key(entry) == key(name)) && (!typed || wantType == qtype) {
			return true
		}
	}
	return false
}
