package table

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

func TestFindAddr(t *testing.T) {
	local := func(domain string) bool { return domain == "local.example" }
	const pattern = "regexp:{{/^x@example/ full}, {/^(x|@example.*|user)$/ partial}}"
	tests := []struct {
		name, spec, addr string
		value, ext       string
	}{
		{"full address", "inline:{u+e@d=full, u@d=base}", "u+e@d", "full", ""},
		{"case is ignored", "inline:{u+e@d=full}", "U+E@D", "full", ""},
		{"without extension", "inline:{u@d=base, @d=domain}", "u+e@d", "base", "+e"},
		{"whole domain", "inline:{@d=domain}", "u+e@d", "domain", ""},
		{"bare user is not looked up elsewhere", "inline:{u=user}", "u@d", "", ""},
		{"bare user with extension in a local domain", "inline:{u+e=ext, u=user}", "u+e@local.example", "ext", ""},
		{"bare user in a local domain", "inline:{u=user, @local.example=domain}", "u+e@local.example", "user", "+e"},
		{"a key is tried in all tables before the next key", "inline:{@d=domain} inline:{u@d=base} inline:{u+e@d=full}", "u+e@d", "full", ""},
		{"the first table wins for one key", "inline:{u@d=one} inline:{u@d=two}", "u@d", "one", ""},
		{"patterns see full addresses", pattern, "x@example", "full", ""},
		{"patterns see nothing else", pattern, "user+x@local.example", "", ""},
		{"quoted form first", `inline:{{"a b"@d = quoted}, {a b@d = plain}}`, "a b@d", "quoted", ""},
		{"internal form too", `inline:{{a b@d = plain}}`, "a b@d", "plain", ""},
		{"quoted form without extension", `inline:{{"a b"@d = quoted}}`, "a b+c@d", "quoted", "+c"},
		{"no domain", "inline:{u=user}", "u+e", "user", "+e"},
		{"empty address", "static:x", "", "", ""},
		{"empty extension", "inline:{u@d=base}", "u+@d", "base", "+"},
		{"key data is not expanded", "inline:{a=b}", "${a}@d", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := OpenMaps(Env{}, "virtual_alias_maps", tt.spec)
			value, ext, found, err := m.FindAddr(context.Background(), tt.addr, AddrSearch{Delimiters: "+", LocalDomain: local})
			if value != tt.value || ext != tt.ext || found != (tt.value != "") || err != nil {
				t.Errorf("FindAddr(%q) = %q, %q, %v, %v; want %q, %q", tt.addr, value, ext, found, err, tt.value, tt.ext)
			}
		})
	}
}

func TestMapsErrors(t *testing.T) {
	tests := []struct {
		name, spec string
		want       error
	}{
		{"table that fails", "fail:x", ErrFail},
		{"table that cannot be opened", "texthash:/no/such/file", ErrUnavailable},
		{"failure behind a miss", "inline:{x=y} fail:x", ErrFail},
		{"empty result", "inline:{k=}", ErrEmptyResult},
		{"success before the failure", "static:v fail:x", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, found, err := OpenMaps(Env{}, "p", tt.spec).Lookup(context.Background(), "k")
			if !errors.Is(err, tt.want) || found != (tt.want == nil) {
				t.Errorf("Lookup = %v, %v; want %v", found, err, tt.want)
			}
		})
	}
	var none *Maps
	if _, found, err := none.Lookup(context.Background(), "k"); found || err != nil || !none.Empty() || none.Files() != nil {
		t.Error("a nil list is not an empty one")
	}
}

func TestMatch(t *testing.T) {
	names := file(t, "# names\nin.file.example, second.example\n!not.example\n")
	tests := []struct {
		name    string
		kind    Kind
		parents bool
		spec    string
		key     string
		want    bool
	}{
		{"exact", Domains, false, "a.example, b.example", "B.example", true},
		{"sub-domain without parents", Domains, false, "example", "a.example", false},
		{"sub-domain with parents", Domains, true, "example", "x.a.example", true},
		{"not a suffix of a label", Domains, true, "example", "xexample", false},
		{"dot matches below", Domains, false, ".example", "x.a.example", true},
		{"dot does not match itself", Domains, false, ".example", "example", false},
		{"negation decides first", Domains, false, "!a.example, .example", "a.example", false},
		{"order counts", Domains, false, ".example, !a.example", "a.example", true},
		{"double negation", Domains, false, "!!a.example", "a.example", true},
		{"table", Domains, false, "inline:{a.example=x}", "A.EXAMPLE", true},
		{"table below", Domains, false, "inline:{.example=x}", "b.a.example", true},
		{"table parents", Domains, true, "inline:{example=x}", "b.a.example", true},
		{"pattern table sees full names only", Domains, true, "regexp:{{/^example$/ x}}", "a.example", false},
		{"negated table", Domains, false, "!inline:{a.example=x} static:all", "a.example", false},
		{"after a negated table", Domains, false, "!inline:{a.example=x} static:all", "b.example", true},
		{"file", Domains, false, names, "in.file.example", true},
		{"negation in a file", Domains, false, names + ", static:x", "not.example", false},
		{"negated file", Domains, false, "!" + names + ", static:x", "second.example", false},
		{"strings have no parents", Strings, true, "example", "a.example", false},
		{"string", Strings, false, "Bounce, delay", "bounce", true},
		{"string of other script", Strings, false, "Ärger", "äRGER", true},
		{"empty key", Domains, false, "static:x", "", false},
		{"empty list", Domains, false, "", "x", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := OpenList(Env{}, "mydestination", tt.spec, tt.kind, tt.parents)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := l.Match(context.Background(), tt.key); got != tt.want || err != nil {
				t.Errorf("Match(%q) = %v, %v; want %v", tt.key, got, err, tt.want)
			}
		})
	}
}

func TestMatchHost(t *testing.T) {
	const spec = "!10.9.0.0/16 127.0.0.0/8 10.0.0.0/8 [::1]/128 [2001:db8::]/32 192.0.2.7 host.example .sub.example cidr:{{198.51.100.0/24 x}} inline:{203.0.113.1=x, named.example=x}"
	tests := []struct {
		name, addr string
		want       bool
	}{
		{"", "127.1.2.3", true},
		{"", "10.9.1.1", false},
		{"", "10.8.1.1", true},
		{"", "::1", true},
		{"", "::ffff:127.0.0.1", true},
		{"", "2001:db8:1::1", true},
		{"", "2001:db9::1", false},
		{"", "192.0.2.7", true},
		{"", "192.0.2.77", false},
		{"Host.example", "9.9.9.9", true},
		{"a.sub.example", "9.9.9.9", true},
		{"sub.example", "9.9.9.9", false},
		{"", "198.51.100.9", true},
		{"", "203.0.113.1", true},
		{"named.example", "9.9.9.9", true},
		{"unknown", "9.9.9.9", false},
	}
	l, err := OpenList(Env{}, "mynetworks", spec, Hosts, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got, err := l.MatchHost(context.Background(), tt.name, netip.MustParseAddr(tt.addr)); got != tt.want || err != nil {
			t.Errorf("MatchHost(%q, %s) = %v, %v; want %v", tt.name, tt.addr, got, err, tt.want)
		}
	}
}

func TestMatchReportsTablesThatFail(t *testing.T) {
	l, err := OpenList(Env{}, "mynetworks", "127.0.0.1 fail:x static:all", Hosts, false)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := l.MatchHost(context.Background(), "", netip.MustParseAddr("127.0.0.1")); !ok || err != nil {
		t.Errorf("before the failure: %v, %v", ok, err)
	}
	if ok, err := l.MatchHost(context.Background(), "", netip.MustParseAddr("127.0.0.2")); ok || !errors.Is(err, ErrFail) {
		t.Errorf("at the failure: %v, %v", ok, err)
	}
}

func TestMalformedListsAreRefused(t *testing.T) {
	for _, spec := range []string{"10.0.0.1/8", "10.0.0.0/33", "[foo]", "1.2.3", "!", "/no/such/file", "a, !, b", "2001:db8::1/32"} {
		if _, err := OpenList(Env{}, "mynetworks", spec, Hosts, false); err == nil {
			t.Errorf("%q was accepted", spec)
		}
	}
	loop := file(t, "")
	if err := writeFile(loop, "!"+loop); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenList(Env{}, "mynetworks", loop, Hosts, false); err == nil {
		t.Error("a file that names itself was accepted")
	}
}
