package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"syscall"
	"testing"

	"sealpost/lib/dns"
	"sealpost/lib/dns/dnstest"
	"sealpost/lib/dsn"
	"sealpost/lib/reqtls"
	"sealpost/lib/route"
	"sealpost/lib/sendopts"
	"sealpost/lib/tlspolicy"
)

// A list of servers (requiretls.md §6.7): each one is as foretold for it alone; the
// first that complies gets the message; of those that do not, the last one's reason
// is the sender's.

// listed are the kinds of server of the lists; "down" refuses connections.
func listed() map[string]kind {
	m := map[string]kind{"down": {name: "down"}}
	for _, k := range kinds() {
		switch k.name {
		case "right", "no STARTTLS", "STARTTLS 454", "broken handshake", "self-signed", "wrong name", "no REQUIRETLS":
			m[k.name] = k
		}
	}
	return m
}

// permutations are all lists of n names.
func permutations(names []string, n int) [][]string {
	if n == 0 {
		return [][]string{nil}
	}
	var out [][]string
	for _, rest := range permutations(names, n-1) {
		for _, name := range names {
			out = append(out, append([]string{name}, rest...))
		}
	}
	return out
}

// cluster is one server of each kind; a list of them is an MX record set of b.test, or
// a list of next hops.
type cluster struct {
	kinds   map[string]kind
	servers map[string]*server
	regime  regime
	set     map[string]string
}

func newCluster(t *testing.T, x *secure) *cluster {
	c := &cluster{kinds: listed(), servers: map[string]*server{}, set: map[string]string{"smtp_tls_CAfile": x.file,
		"smtp_tls_secure_cert_match": "mx.b.test", "smtp_tls_security_level": "secure", "smtp_requiretls_policy": "enforce"}}
	for name, k := range c.kinds {
		if name != "down" {
			c.servers[name] = x.site(t, &k).server
		}
	}
	for _, r := range x.regimes() {
		if r.name == "secure" {
			c.regime = r
		}
	}
	return c
}

// fixture is a client that finds the servers as mx1.test, mx2.test ... at 192.0.2.1 ...
func (c *cluster) fixture(t *testing.T, list []string, more map[string]string) *fixture {
	r := dnstest.Map{MXs: map[string][]dns.MX{}, Hosts: map[string][]string{}}
	for i := range list {
		name := fmt.Sprintf("mx%d.test", i+1)
		r.MXs["b.test"] = append(r.MXs["b.test"], dns.MX{Host: name, Pref: uint16(i)})
		r.Hosts[name] = []string{fmt.Sprintf("192.0.2.%d", i+1)}
	}
	set := maps.Clone(c.set)
	maps.Copy(set, more)
	f := newFixture(t, "smtp", set, r)
	f.dial = func(ctx context.Context, h route.Host) (net.Conn, error) {
		var n int
		fmt.Sscanf(h.Name, "mx%d.test", &n)
		s := c.servers[list[n-1]]
		if s == nil {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr())
	}
	return f
}

// run delivers a message with the request; seen is what each kind of server saw.
func (c *cluster) run(t *testing.T, f *fixture, nexthop string) (out *outcomesLog, seen map[string]string) {
	marks := map[string]int{}
	for name, s := range c.servers {
		marks[name] = s.mark()
	}
	req := request(nexthop, "a@b.test")
	req.SendOpts, req.Ret = sendopts.RequireTLSESMTP, dsn.RetFull
	out = f.run(t, req)
	seen = map[string]string{}
	for name, s := range c.servers {
		if mail := s.mailSince(marks[name]); mail != "" {
			seen[name] = mail
		}
	}
	return out, seen
}

// foretell is the outcome for a list, and the lines about hosts that were left.
func (c *cluster) foretell(list []string) (want foretold, log []string) {
	for i, name := range list {
		host := fmt.Sprintf("mx%d.test[192.0.2.%d]", i+1, i+1)
		k := c.kinds[name]
		if name == "down" {
			want = failed("4.4.1", reqtls.Field(tlspolicy.Slot{Initial: "secure"}, reqtls.Undecided(reqtls.Enforce)),
				"connect to "+host+":25: Connection refused")
			log = append(log, want.reason)
			continue
		}
		want = foretell(&k, &c.regime, reqtls.Enforce)
		want.reason = strings.ReplaceAll(want.reason, "mx.b.test[127.0.0.1]", host)
		if want.word == "sent" {
			break
		}
		if i < len(list)-1 {
			log = append(log, "4XYZ: "+want.reason)
		}
	}
	return want, log
}

func TestEveryListOfServers(t *testing.T) {
	x := newSecure(t)
	c := newCluster(t, x)
	all := []string{"right", "no STARTTLS", "STARTTLS 454", "broken handshake", "self-signed", "wrong name", "no REQUIRETLS", "down"}
	lists := append(permutations(all, 2), permutations([]string{"right", "no STARTTLS", "no REQUIRETLS", "wrong name", "down"}, 3)...)
	for _, list := range lists {
		var hops []string
		for i := range list {
			hops = append(hops, fmt.Sprintf("[mx%d.test]", i+1))
		}
		for _, nexthop := range []string{"b.test", strings.Join(hops, ", ")} {
			f := c.fixture(t, list, nil)
			out, seen := c.run(t, f, nexthop)
			want, log := c.foretell(list)
			o := out.full[0]
			word, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "a@b.test "), " ")
			if got := (foretold{word, o.Status.Code, o.TLS, o.Status.Reason, want.mail}); got != want {
				t.Errorf("%q to %s:\n got %s\nwant %s", list, nexthop, got, want)
			}
			wantSeen := map[string]string{}
			if want.mail != "" {
				wantSeen["right"] = want.mail
			}
			if !maps.Equal(seen, wantSeen) {
				t.Errorf("%q to %s: MAIL FROM was seen by %q, want %q", list, nexthop, seen, wantSeen)
			}
			lines := "\n" + f.logged() + "\n"
			for _, line := range log {
				if !strings.Contains(lines, "\n"+line+"\n") {
					t.Errorf("%q to %s: the log lacks %q:%s", list, nexthop, line, lines)
				}
			}
			if o.Status.Code[0] == '5' && out.hop.Reason != "" {
				t.Errorf("%q to %s: the destination is to wait: %s", list, nexthop, out.hop.Reason)
			}
		}
	}
}

// What lists, relays and limits make of a host that does not comply (requiretls.md
// §6.7, §6.8; decision 8).
func TestRequireTLSOnTheWay(t *testing.T) {
	x := newSecure(t)
	c := newCluster(t, x)
	const noMatch, none = "Sender requested REQUIRETLS, but my configured TLS security level 'may' disables certificate matching. The last attempted server was ",
		"Sender requested REQUIRETLS, but no server was found that supports REQUIRETLS. The last attempted server was "
	// The level of TLS by next hop.
	mayAt := func(host string) string { return "inline:{{[" + host + "]=may}}" }
	for _, tc := range []struct {
		name, nexthop string
		list          []string
		set           map[string]string
		want          string // outcome and tls=
		seen          map[string]string
		log           string // a line of it
	}{
		{name: "each next hop has its policy", nexthop: "[mx1.test], [mx2.test]", list: []string{"no REQUIRETLS", "no REQUIRETLS"},
			set:  map[string]string{"smtp_requiretls_policy": "inline:{{mx2.test=opportunistic}} enforce"},
			want: "sent 2.0.0 secure/requiretls:none 250 2.0.0 queued", seen: map[string]string{"no REQUIRETLS": "tls: <from@a.test> RET=HDRS"},
			log: "4XYZ: " + none + "mx1.test[192.0.2.1]"},
		{name: "the policy is that of the domain and not of its hosts", nexthop: "b.test", list: []string{"no REQUIRETLS"},
			set: map[string]string{"smtp_requiretls_policy": "inline:{{mx1.test=disable}} enforce"}, want: "bounced 5.7.30 secure/!requiretls:none " + none + "mx1.test[192.0.2.1]"},
		{name: "no connection to the first one", nexthop: "[mx1.test], [mx2.test]", list: []string{"right", "right"},
			set:  map[string]string{"smtp_tls_policy_maps": mayAt("mx1.test")},
			want: "sent 2.0.0 secure/requiretls 250 2.0.0 queued", seen: map[string]string{"right": "tls: <from@a.test> RET=FULL REQUIRETLS"},
			log: "warning: TLS policy lookup for [mx1.test]/mx1.test: " + noMatch + "mx1.test"},
		{name: "no connection to the last one", nexthop: "[mx1.test], [mx2.test]", list: []string{"no REQUIRETLS", "right"},
			set: map[string]string{"smtp_tls_policy_maps": mayAt("mx2.test")}, want: "bounced 5.7.10 may?/!requiretls:nocertmatch " + noMatch + "mx2.test"},
		{name: "the first policy cannot be read", nexthop: "[mx1.test], [mx2.test]", list: []string{"right", "right"},
			set:  map[string]string{"smtp_requiretls_policy": "inline:{{mx1.test=nonsense}} enforce"},
			want: "sent 2.0.0 secure/requiretls 250 2.0.0 queued", seen: map[string]string{"right": "tls: <from@a.test> RET=FULL REQUIRETLS"}},
		{name: "the last policy cannot be read", nexthop: "[mx1.test], [mx2.test]", list: []string{"no REQUIRETLS", "right"},
			set:  map[string]string{"smtp_requiretls_policy": "inline:{{mx2.test=nonsense}} enforce"},
			want: "deferred 4.7.10 secure? REQUIRETLS policy configuration error. The last attempted server was mx2.test"},
		{name: "fallback relay complies", nexthop: "[mx1.test]", list: []string{"no REQUIRETLS", "right"}, set: map[string]string{"smtp_fallback_relay": "[mx2.test]"},
			want: "sent 2.0.0 secure/requiretls 250 2.0.0 queued", seen: map[string]string{"right": "tls: <from@a.test> RET=FULL REQUIRETLS"},
			log: "4XYZ: " + none + "mx1.test[192.0.2.1]"},
		{name: "fallback relay does not comply", nexthop: "[mx1.test]", list: []string{"no STARTTLS", "no REQUIRETLS"}, set: map[string]string{"smtp_fallback_relay": "[mx2.test]"},
			want: "bounced 5.7.30 secure/!requiretls:none " + none + "mx2.test[192.0.2.2]"},
		{name: "fallback relay by its own policy", nexthop: "[mx1.test]", list: []string{"no REQUIRETLS", "no REQUIRETLS"},
			set:  map[string]string{"smtp_fallback_relay": "[mx2.test]", "smtp_requiretls_policy": "inline:{{mx2.test=opportunistic}} enforce"},
			want: "sent 2.0.0 secure/requiretls:none 250 2.0.0 queued", seen: map[string]string{"no REQUIRETLS": "tls: <from@a.test> RET=HDRS"}},
		{name: "fallback relay that no connection is made to", nexthop: "[mx1.test]", list: []string{"no REQUIRETLS", "right"},
			set:  map[string]string{"smtp_fallback_relay": "[mx2.test]", "smtp_tls_policy_maps": mayAt("mx2.test")},
			want: "deferred 4.3.5 may?/!requiretls:nocertmatch " + noMatch + "mx2.test", log: "warning: smtp_fallback_relay configuration problem"},
		{name: "relayhost that no connection is made to", nexthop: "[mx1.test]", list: []string{"right"},
			set:  map[string]string{"relayhost": "[mx1.test]", "smtp_tls_policy_maps": mayAt("mx1.test")},
			want: "deferred 4.3.5 may?/!requiretls:nocertmatch " + noMatch + "mx1.test", log: "warning: relayhost configuration problem"},
		{name: "relayhost that does not comply", nexthop: "[mx1.test]", list: []string{"no REQUIRETLS"}, set: map[string]string{"relayhost": "[mx1.test]"},
			want: "bounced 5.7.30 secure/!requiretls:none " + none + "mx1.test[192.0.2.1]"},
		{name: "address limit", nexthop: "b.test", list: []string{"no REQUIRETLS", "self-signed", "right"}, set: map[string]string{"smtp_mx_address_limit": "2"},
			want: "bounced 5.7.10 !secure/!requiretls:nocertmatch Sender requested REQUIRETLS, but no trusted server certificate was found. The last attempted server was mx2.test[192.0.2.2]"},
		{name: "what does not comply is no session", nexthop: "b.test", list: []string{"no REQUIRETLS", "no STARTTLS", "right"}, set: map[string]string{"smtp_mx_session_limit": "1"},
			want: "sent 2.0.0 secure/requiretls 250 2.0.0 queued", seen: map[string]string{"right": "tls: <from@a.test> RET=FULL REQUIRETLS"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := c.fixture(t, tc.list, tc.set)
			out, seen := c.run(t, f, tc.nexthop)
			o := out.full[0]
			word, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "a@b.test "), " ")
			if got := word + " " + o.Status.Code + " " + o.TLS + " " + o.Status.Reason; got != tc.want {
				t.Errorf("got  %s\nwant %s\nlog: %s", got, tc.want, f.logged())
			}
			if !maps.Equal(seen, tc.seen) {
				t.Errorf("MAIL FROM was seen by %q, want %q", seen, tc.seen)
			}
			if !strings.Contains("\n"+f.logged()+"\n", "\n"+tc.log+"\n") && tc.log != "" {
				t.Errorf("the log lacks %q:\n%s", tc.log, f.logged())
			}
			if o.Status.Code != "4.3.5" && out.hop.Reason != "" {
				t.Errorf("the destination is to wait: %+v", out.hop)
			}
		})
	}
}
