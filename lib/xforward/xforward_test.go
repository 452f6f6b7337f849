package xforward

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sealpost/lib/dsn"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		behaviour, arg string
		want           []Attr
		err            error
	}{
		{"several", "NAME=spike.example  addr=168.100.189.2\tPORT=25", []Attr{{"NAME", "spike.example"}, {"addr", "168.100.189.2"}, {"PORT", "25"}}, nil},
		{"xtext", "HELO=a+20b+0Dc", []Attr{{"HELO", "a b\rc"}}, nil},
		{"old senders do not encode", "HELO=a+2", []Attr{{"HELO", "a+2"}}, nil},
		{"an equals sign in the value", "HELO=a=b", []Attr{{"HELO", "a=b"}}, nil},
		{"unknown names are for the caller", "FOO=x", []Attr{{"FOO", "x"}}, nil},
		{"no name", "=x", []Attr{{"", "x"}}, nil},
		{"nothing", "", nil, nil},
		{"no value", "NAME=", nil, ErrSyntax},
		{"no equals sign", "NAME", nil, ErrSyntax},
		{"as long as it may be", "HELO=" + strings.Repeat("x", 255), []Attr{{"HELO", strings.Repeat("x", 255)}}, nil},
		{"too long", "HELO=" + strings.Repeat("x", 256), nil, ErrTooLong},
		{"too long as sent", "HELO=" + strings.Repeat("+41", 86), nil, ErrTooLong},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got, err := Parse(tc.arg)
			if !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	for value, want := range map[string]bool{"[UNAVAILABLE]": true, "[unavailable]": true, "unavailable": false, "[TEMPUNAVAIL]": false} {
		if a := (Attr{Value: value}); a.Unknown() != want {
			t.Errorf("%s: %v", value, !want)
		}
	}
}

// The forms are those that Postfix 3.7 was seen to make of them.
func TestNeuter(t *testing.T) {
	for in, want := range map[string]string{
		"client.example": "client.example", "[1.2.3.4]": "[1.2.3.4]", "he\nlo(x)": "he?lo?x?",
		`abc@x<>;"`: "abc?x????", "a@b<c\\d\"e;f\x7fgäh=i=j": "a?b?c?d?e?f?gäh=i=j", "a b\tc": "a?b?c", "\xff\u0085\u2028": "???",
	} {
		if got := Neuter(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseSet(t *testing.T) {
	if got := ParseSet("NAME addr FOO Ident"); got != Name|Addr|Ident {
		t.Errorf("%b", got)
	}
	if got := ParseSet(""); got != 0 {
		t.Errorf("%b", got)
	}
}

func TestCommands(t *testing.T) {
	const everything = Set(0xff)
	long := strings.Repeat("z", 250)
	order := []Set{Name, Addr, Port, Helo, Ident, Proto, Source}
	for _, tc := range []struct {
		behaviour string
		v         Values
		offered   Set
		all       bool
		want      []string
	}{
		{"all are known", Values{"c.example", "2001:db8::1", "77", "he lo+", "ABC", "ESMTP", false}, everything, false,
			[]string{"XFORWARD NAME=c.example ADDR=IPv6:2001:db8::1 PORT=77 HELO=he+20lo+2B IDENT=ABC PROTO=ESMTP SOURCE=REMOTE"}},
		{"what is not known is left out", Values{Name: "unknown", Addr: "1.2.3.4", Local: true}, everything, false,
			[]string{"XFORWARD ADDR=1.2.3.4 SOURCE=LOCAL"}},
		{"or said to be so", Values{Name: "unknown", Addr: "1.2.3.4"}, everything, true,
			[]string{"XFORWARD NAME=[UNAVAILABLE] ADDR=1.2.3.4 PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=[UNAVAILABLE] PROTO=[UNAVAILABLE] SOURCE=REMOTE"}},
		{"what the server did not offer", Values{Name: "a", Addr: "1.2.3.4", Helo: "h"}, Name | Helo, true, []string{"XFORWARD NAME=a HELO=h"}},
		{"nothing", Values{}, Name | Addr, false, nil},
		{"nothing offered", Values{Name: "a"}, 0, true, nil},
		{"more than a command holds", Values{Name: long, Addr: "1.2.3.4", Helo: long, Ident: "A"}, everything, true,
			[]string{"XFORWARD NAME=" + long + " ADDR=1.2.3.4 PORT=[UNAVAILABLE]", "XFORWARD HELO=" + long + " IDENT=A PROTO=[UNAVAILABLE] SOURCE=REMOTE"}},
		{"a value that is too long", Values{Helo: strings.Repeat("x", 300)}, Helo, true, []string{"XFORWARD HELO=" + strings.Repeat("x", 255)}},
		{"xtext is not cut apart", Values{Helo: "x" + strings.Repeat("+", 100)}, Helo, true, []string{"XFORWARD HELO=x" + strings.Repeat("+2B", 84)}},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got := tc.v.Commands(tc.offered, tc.all, order...)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// FuzzCommands: whatever the values are, a command is a line of at most 512 bytes, and
// the other end reads what was meant.
func FuzzCommands(f *testing.F) {
	f.Add("c.example", "1.2.3.4", "25", "he\r\nlo", "ABC", "ESMTP")
	f.Add(strings.Repeat("+", 300), "::1", "", strings.Repeat("x", 254)+"\xff", "unknown", "=")
	f.Fuzz(func(t *testing.T, name, addr, port, helo, ident, proto string) {
		v := &Values{Name: name, Addr: addr, Port: port, Helo: helo, Ident: ident, Proto: proto}
		n := 0
		for _, c := range v.Commands(0xff, true, Name, Addr, Port, Helo, Ident, Proto, Source) {
			if len(c) > 510 || strings.ContainsAny(c, "\r\n\x00\t") {
				t.Fatalf("command of %d bytes: %q", len(c), c)
			}
			list, err := Parse(strings.TrimPrefix(c, "XFORWARD"))
			if err != nil {
				t.Fatalf("%q: %v", c, err)
			}
			for _, a := range list {
				n++
				want := v.get(Find(a.Name))
				if a.Value == Unavailable {
					continue
				}
				if len(dsn.AppendXtext(nil, want)) <= 255 && a.Value != want || !strings.HasPrefix(want, a.Value) {
					t.Errorf("%s: %q, want %q", a.Name, a.Value, want)
				}
			}
		}
		if n != 7 {
			t.Errorf("%d attributes", n)
		}
	})
}

// FuzzParse: a value that was read can be logged.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"NAME=a ADDR=1.2.3.4", "HELO=+0A", "x", "a=+", "=\x00", "A=\xff+FF"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		list, err := Parse(arg)
		if err != nil && list != nil {
			t.Errorf("%q with %v", list, err)
		}
		for _, a := range list {
			if n := Neuter(a.Value); strings.ContainsAny(n, " \t\r\n\x00<>()\\\";@") {
				t.Errorf("%q: %q", a.Value, n)
			}
			if a.Value == "" || len(a.Value) > maxValue {
				t.Errorf("%q: a value of %d bytes", arg, len(a.Value))
			}
		}
	})
}
