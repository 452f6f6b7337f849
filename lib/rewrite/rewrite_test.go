package rewrite

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/table"
	"sealpost/test/capture"
)

var base = map[string]string{
	"myhostname":              "mail.example.com",
	"mydomain":                "example.com",
	"myorigin":                "$myhostname",
	"mydestination":           "$myhostname, localhost.$mydomain, localhost",
	"inet_interfaces":         "127.0.0.1",
	"inet_protocols":          "ipv4",
	"virtual_alias_domains":   "valias.example",
	"virtual_mailbox_domains": "virt.example",
	"relay_domains":           "relay.example",
}

func newRewriter(tb testing.TB, values map[string]string) *Rewriter {
	tb.Helper()
	set := map[string]string{}
	for _, m := range []map[string]string{base, values} {
		for k, v := range m {
			set[k] = v
		}
	}
	c, err := config.FromMap(set)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := New(c, table.Env{Warnf: func(string, ...any) {}})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// What Postfix's trivial-rewrite answered to the same requests.
func TestRewrite(t *testing.T) {
	dots := map[string]string{"append_dot_mydomain": "yes"}
	remote := map[string]string{"remote_header_rewrite_domain": "domain.invalid"}
	none := map[string]string{"swap_bangpath": "no", "allow_percent_hack": "no", "append_at_myorigin": "no"}
	for _, tt := range []struct {
		name     string
		set      map[string]string
		ctx      Context
		in, want string
	}{
		{"user", nil, LocalContext, "alice", "alice@mail.example.com"},
		{"user in remote context", nil, RemoteContext, "alice", "alice"},
		{"user in remote context with domain", remote, RemoteContext, "alice", "alice@domain.invalid"},
		{"site in remote context with domain", remote, RemoteContext, "alice@sub", "alice@sub.domain.invalid"},
		{"site", nil, LocalContext, "alice@sub", "alice@sub"},
		{"site with dots", dots, LocalContext, "alice@sub", "alice@sub.example.com"},
		{"dot at end keeps site", dots, LocalContext, "alice@sub.", "alice@sub"},
		{"bang", nil, LocalContext, "host!user", "user@host"},
		{"bang completes", dots, LocalContext, "h!u", "u@h.example.com"},
		{"bang before percent", nil, LocalContext, "x!y%z", "y%z@x"},
		{"bang with domain stays", nil, LocalContext, "host!user@dom.example", "host!user@dom.example"},
		{"bang in remote context", nil, RemoteContext, "host!user", "user@host"},
		{"percent", nil, LocalContext, "user%host", "user@host"},
		{"percent, last", nil, LocalContext, "a%b%c", "a%b@c"},
		{"hacks off", none, LocalContext, "a!b%c", "a!b%c"},
		{"quoted percent", nil, LocalContext, `"user%host"`, "user%host@mail.example.com"},
		{"quoted bang", nil, LocalContext, `"host!user"@d.e`, "host!user@d.e"},
		{"two at signs", nil, LocalContext, "a@b@c", `"a@b"@c`},
		{"blank", nil, LocalContext, "a b@c", `"a b"@c`},
		{"route", nil, LocalContext, "@a,@b:user@dom", "user@dom"},
		{"route in remote context", nil, RemoteContext, "@a:b@c", "b@c"},
		{"null", nil, LocalContext, `""`, `""`},
		{"needless quotes", nil, LocalContext, `"a"@dom.example`, "a@dom.example"},
		{"two dots", nil, LocalContext, "a..b@dom.example", `"a..b"@dom.example`},
		{"two dots at end", nil, LocalContext, "u@dom.example..", "u@dom.example.."},
		{"literal", dots, LocalContext, "u@[1.2.3.4]", "u@[1.2.3.4]"},
		{"no user", nil, LocalContext, "@dom", `""@dom`},
		{"quoted at", nil, LocalContext, `"a@b"`, `"a@b"@mail.example.com`},
		{"utf-8", dots, LocalContext, "é@sub", "é@sub.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newRewriter(t, tt.set).Rewrite(tt.ctx, tt.in); got != tt.want {
				t.Errorf("Rewrite(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestRewriteInternal(t *testing.T) {
	r := newRewriter(t, nil)
	for in, want := range map[string]string{
		"": "", "alice": "alice@mail.example.com", "a b": "a b@mail.example.com",
		"a b%c": "a b%c@mail.example.com", "a@b": "a@b", "a@b@c": "a@b@c", "u%h": "u@h",
	} {
		if got := r.RewriteInternal(LocalContext, in); got != want {
			t.Errorf("RewriteInternal(%q) = %q, want %q", in, got, want)
		}
	}
}

// What Postfix's trivial-rewrite answered to the same requests.
func TestResolve(t *testing.T) {
	const invalid, routed = "invalid", "routed"
	for _, tt := range []struct {
		in, transport, nexthop, rcpt string
		class                        Class
		flags                        string
	}{
		{"alice", "local", "mail.example.com", "alice@mail.example.com", Local, ""},
		{"alice@localhost", "local", "mail.example.com", "alice@localhost", Local, ""},
		{"", "local", "mail.example.com", "MAILER-DAEMON@mail.example.com", Local, ""},
		{"a@b@c", "smtp", "c", "a@b@c", Default, routed},
		{"user%host@mail.example.com", "smtp", "host", "user@host", Default, ""},
		{"host.example!user@mail.example.com", "smtp", "host.example", "user@host.example", Default, ""},
		{"user@remote@mail.example.com", "smtp", "remote", "user@remote", Default, ""},
		{"user%h@remote.example", "smtp", "remote.example", "user%h@remote.example", Default, routed},
		{"h!user@remote.example", "smtp", "remote.example", "h!user@remote.example", Default, routed},
		{"u%x%y@mail.example.com", "smtp", "y", "u%x@y", Default, routed},
		{"user@[127.0.0.1]", "local", "mail.example.com", "user@[127.0.0.1]", Local, ""},
		{"user@[1.2.3.4]", "smtp", "[1.2.3.4]", "user@[1.2.3.4]", Default, ""},
		{"u@[IPv6:::1]", "smtp", "[IPv6:::1]", "u@[IPv6:::1]", Default, ""},
		{"u@[garbage]", "", "", "u@[garbage]", Default, invalid},
		{"user@1.2.3.4", "", "", "user@1.2.3.4", Default, invalid},
		{"u@1.2.3", "", "", "u@1.2.3", Default, invalid},
		{"info@valias.example", "error", "5.1.1 User unknown in virtual alias table", "info@valias.example", Alias, ""},
		{"bob@virt.example", "virtual", "virt.example", "bob@virt.example", Virtual, ""},
		{"u@relay.example", "relay", "relay.example", "u@relay.example", Relay, ""},
		{"u@sub.relay.example", "relay", "sub.relay.example", "u@sub.relay.example", Relay, ""},
		{"u@REMOTE.Example", "smtp", "REMOTE.Example", "u@REMOTE.Example", Default, ""},
		{"u@.c.example", "", "", "u@.c.example", Default, invalid},
		{"u@c..example", "", "", "u@c..example", Default, invalid},
		{"u@c.example.", "smtp", "c.example", "u@c.example", Default, ""},
		{"u@c.example..", "", "", "u@c.example..", Default, invalid},
		{"u@-c.example", "", "", "u@-c.example", Default, invalid},
		{"u@a-.example", "", "", "u@a-.example", Default, invalid},
		{"u@c$d.example", "", "", "u@c$d.example", Default, invalid},
		{"u@c d.example", "", "", "u@c d.example", Default, invalid},
		{"u@c_d.example", "smtp", "c_d.example", "u@c_d.example", Default, ""},
		{"u@é.example", "smtp", "é.example", "u@é.example", Default, ""},
		{"-x@c.example", "smtp", "c.example", "-x@c.example", Default, invalid},
		{"u@", "", "", "u@", Default, invalid},
		{"@c.example", "smtp", "c.example", "@c.example", Default, ""},
		{"u@mail.example.com@mail.example.com", "local", "mail.example.com", "u@mail.example.com", Local, ""},
		{"u@mail.example.com.", "local", "mail.example.com", "u@mail.example.com", Local, ""},
		{"%u@mail.example.com", "smtp", "u", "@u", Default, ""},
		{"u!@mail.example.com", "smtp", "u", "@u", Default, ""},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := newRewriter(t, nil).Resolve(context.Background(), "", tt.in)
			want := Resolved{tt.transport, tt.nexthop, tt.rcpt, tt.class, tt.flags == routed, tt.flags == invalid}
			if err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// TestMalformed: the verdicts are those of Debian's smtpd on MAIL FROM.
func TestMalformed(t *testing.T) {
	r := newRewriter(t, nil)
	long := strings.Repeat("b", 60) + "."
	for _, tt := range []struct {
		addr string
		want bool
	}{
		{"", false}, {"a", false}, {"a@c.example", false}, {"a@c.example.", false}, {"a@c_d.example", false}, {"@c.example", false},
		{"@x..test:a@c.example", false}, {"a@[127.0.0.1]", false}, {"a@[IPv6:::1]", false}, {"a@c..d@lab.test", false}, {"x%y..z@lab.test", false},
		{"a@c..example", true}, {"a@.c", true}, {"a@c..", true}, {"a@-c.example", true}, {"a@c.example-", true}, {"a@c$d.example", true},
		{"a@c d", true}, {"a@[]", true}, {"a@[1.2.3]", true}, {"a@127.0.0.1", true}, {"-a@c.example", true}, {"-a", true},
		{"a@" + strings.Repeat("b", 63) + ".test", false}, {"a@" + strings.Repeat("b", 64) + ".test", true},
		{"a@" + strings.Repeat(long, 4) + "test", false}, {"a@" + strings.Repeat(long, 5) + "test", true},
		// The limits are those of the A-labels: 40 of these letters are 80 bytes of UTF-8.
		{"a@" + strings.Repeat("ü", 40) + ".test", false}, {"a@" + strings.Repeat("ü", 70) + ".test", true},
		{"a@" + strings.Repeat("例", 25) + ".test", false}, {"a@ü..test", true}, {"a@-ü.test", true}, {"a@a。b.test", false}, {"a@A_ü.test", false},
	} {
		if got := r.Malformed(tt.addr); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.addr, got, tt.want)
		}
	}
	allowed := newRewriter(t, map[string]string{"allow_min_user": "yes", "resolve_numeric_domain": "yes"})
	for _, addr := range []string{"-a@c.example", "a@127.0.0.1"} {
		if allowed.Malformed(addr) {
			t.Errorf("%q is malformed with allow_min_user and resolve_numeric_domain", addr)
		}
	}
	// What is delivered is judged in the same way.
	to, err := r.Resolve(t.Context(), "", "a@"+strings.Repeat("ü", 40)+".test")
	if err != nil || to.Invalid {
		t.Errorf("a long label in UTF-8: %+v, %v", to, err)
	}
}

func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		name, param, value, sender, rcpt string
		transport, nexthop               string
	}{
		{"relayhost", "relayhost", "[gw.example]:26", "", "u@x.example", "smtp", "[gw.example]:26"},
		{"relayhost and relay domain", "relayhost", "gw", "", "u@relay.example", "relay", "gw"},
		{"relayhost and mailbox domain", "relayhost", "gw", "", "u@virt.example", "virtual", "virt.example"},
		{"default_transport with nexthop", "default_transport", "uucp:hub", "", "u@x.example", "uucp", "hub"},
		{"sender's relayhost", "sender_dependent_relayhost_maps", "inline:{a@s.example=[one]}", "a@s.example", "u@x.example", "smtp", "[one]"},
		{"sender's domain", "sender_dependent_relayhost_maps", "inline:{@s.example=[one]}", "b@s.example", "u@x.example", "smtp", "[one]"},
		{"null sender", "sender_dependent_relayhost_maps", "inline:{<>=[one]}", "", "u@x.example", "smtp", "[one]"},
		{"sender's transport", "sender_dependent_default_transport_maps", "inline:{a@s.example=slow:}", "a@s.example", "u@x.example", "slow", "x.example"},
		{"sender's transport, relay domain", "sender_dependent_default_transport_maps", "inline:{a@s.example=slow:}", "a@s.example", "u@relay.example", "relay", "relay.example"},
		{"transport of address", "transport_maps", "inline:{u@x.example=t:n}", "", "u@x.example", "t", "n"},
		{"transport of domain", "transport_maps", "inline:{x.example=t:}", "", "u@x.example", "t", "x.example"},
		{"transport of parent", "transport_maps", "inline:{.example=t:n}", "", "u@a.x.example", "t", "n"},
		{"parent without dot", "transport_maps", "inline:{example=t:n}", "", "u@x.example", "smtp", "x.example"},
		{"transport of all", "transport_maps", "inline:{*=:n}", "", "u@x.example", "smtp", "n"},
		{"unchanged", "transport_maps", "inline:{{x.example=:},{*=t:n}}", "", "u@x.example", "smtp", "x.example"},
		{"error without text", "transport_maps", "inline:{x.example=error:}", "", "u@x.example", "error", "Address is undeliverable"},
		{"error with text", "transport_maps", "inline:{{x.example=error:5.7.1 go away}}", "", "u@x.example", "error", "5.7.1 go away"},
		{"not for virtual aliases", "transport_maps", "inline:{*=t:n}", "", "u@valias.example", "error", "5.1.1 User unknown in virtual alias table"},
		{"relocated", "relocated_maps", "inline:{{u@x.example=new@y.example}}", "", "u@x.example", "error", "5.1.6 User has moved to new@y.example"},
		{"relocated user of this host", "relocated_maps", "inline:{{u=new@y.example}}", "", "u@localhost", "error", "5.1.6 User has moved to new@y.example"},
		{"bare name in another domain", "relocated_maps", "inline:{{u=new@y.example}}", "", "u@x.example", "smtp", "x.example"},
		{"table name not shown", "show_user_unknown_table_name", "no", "", "u@valias.example", "error", "5.1.1 User unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRewriter(t, map[string]string{tt.param: tt.value})
			got, err := r.Resolve(context.Background(), tt.sender, tt.rcpt)
			if err != nil || got.Transport != tt.transport || got.Nexthop != tt.nexthop {
				t.Errorf("got %s:%s, %v, want %s:%s", got.Transport, got.Nexthop, err, tt.transport, tt.nexthop)
			}
		})
	}
}

func TestFailingTableIsTemporary(t *testing.T) {
	for _, param := range []string{"transport_maps", "sender_dependent_relayhost_maps", "relocated_maps", "relay_domains", "sender_dependent_default_transport_maps"} {
		t.Run(param, func(t *testing.T) {
			r := newRewriter(t, map[string]string{param: "fail:broken"})
			if got, err := r.Resolve(context.Background(), "a@b.example", "u@x.example"); err == nil {
				t.Errorf("got %+v without error", got)
			}
		})
	}
}

func TestVerifyOverrides(t *testing.T) {
	r := newRewriter(t, map[string]string{"relayhost": "gw", "address_verify_relayhost": ""})
	if got, err := r.ResolveVerify(context.Background(), "", "u@x.example"); err != nil || got.Nexthop != "x.example" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestRecordedRequests replays what Postfix's daemons asked trivial-rewrite,
// with the configuration of the recorded system.
func TestRecordedRequests(t *testing.T) {
	r := newRewriter(t, map[string]string{
		"recipient_delimiter": "+",
		"relay_domains":       "refused.example",
		"transport_maps": "inline:{{err.example=error:5.1.2 no such domain here},{disc.example=discard:silently},{pipe.example=pcat:}," +
			"{noreq.example=smtp:[127.0.0.2]:3528},{notls.example=smtp:[127.0.0.2]:3527},{refused.example=relay:[127.0.0.3]:3999}," +
			"{rej.example=smtp:[127.0.0.2]:3530},{slow.example=smtp:[127.0.0.2]:3529},{tls.example=smtp:[127.0.0.2]:3526}}",
	})
	requests, resolved := 0, 0
	for _, c := range capture.Conns(t, "rewrite-from-*") {
		client, server := lists(c.Client), lists(c.Server)[1:]
		for i, req := range client {
			requests++
			reply := server[i]
			switch req["request"] {
			case "rewrite":
				if got := r.Rewrite(Context(req["rule"]), req["address"]); got != reply["address"] {
					t.Errorf("%s: rewrite %q: got %q, recorded %q", c.Name(), req["address"], got, reply["address"])
				}
			case "resolve", "verify":
				got, err := r.Resolve(context.Background(), req["sender"], req["address"])
				if err != nil {
					t.Fatal(err)
				}
				flags, _ := strconv.Atoi(reply["flags"])
				if class := 1 << (7 + int(got.Class)); flags&^0xff != class || got.Recipient != reply["recipient"] || got.Routed != (flags&2 != 0) || got.Invalid != (flags&4 != 0) {
					t.Errorf("%s: resolve %q: got %+v, recorded %v", c.Name(), req["address"], got, reply)
				}
				// These two got a transport in the middle of the recording.
				if !strings.HasSuffix(req["address"], "@remote.example") && !strings.HasSuffix(req["address"], "@example.com") {
					resolved++
					if got.Transport != reply["transport"] || got.Nexthop != reply["nexthop"] {
						t.Errorf("%s: resolve %q: got %s:%s, recorded %v", c.Name(), req["address"], got.Transport, got.Nexthop, reply)
					}
				}
			}
		}
	}
	if requests < 100 || resolved < 20 {
		t.Errorf("only %d requests, %d of them resolved", requests, resolved)
	}
}

// lists splits a stream into attribute lists; a later value of a name wins.
func lists(b []byte) []map[string]string {
	var all []map[string]string
	one := map[string]string{}
	for len(b) > 0 {
		name, rest, _ := bytes.Cut(b, []byte{0})
		if len(name) == 0 {
			all = append(all, one)
			one = map[string]string{}
			b = rest
			continue
		}
		value, rest, _ := bytes.Cut(rest, []byte{0})
		one[string(name)] = string(value)
		b = rest
	}
	return all
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", "a", "a@b", "@a,@b:c@d", "u%h@mail.example.com", "@@@@", "!!!!", "%%%@mail.example.com", `"`, "a@[", "@mail.example.com:@x"} {
		f.Add(s)
	}
	r := newRewriter(f, nil)
	f.Fuzz(func(t *testing.T, addr string) {
		if _, err := r.Resolve(context.Background(), "", addr); err != nil {
			t.Fatal(err)
		}
		once := r.Rewrite(LocalContext, addr)
		if twice := r.Rewrite(LocalContext, once); !strings.ContainsAny(addr, "@:!%\"\\ \t") && twice != once {
			t.Errorf("rewrite of %q is %q, and then %q", addr, once, twice)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	r := newRewriter(b, nil)
	for b.Loop() {
		if _, err := r.Resolve(context.Background(), "sender@remote.example", "bob@virt.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRewriteInternal(b *testing.B) {
	r := newRewriter(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		r.RewriteInternal(LocalContext, "bob@virt.example")
	}
}
