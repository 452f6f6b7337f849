package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

// records of a small message, without flags.
var (
	head = []string{"T1795378728 319310", "Arewrite_context=local", "Ssender@remote.example"}
	one  = append(append([]string{}, head...), "Rbob@virt.example", "M")
)

func with(parts ...any) []string {
	var list []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			list = append(list, p)
		case []string:
			list = append(list, p...)
		}
	}
	return list
}

const external = mailproto.CleanupExternal

// accept sends a message that must get into the queue and returns its records.
func accept(t *testing.T, h *house, flags mailproto.CleanupFlags, records []string) []rec {
	t.Helper()
	id, reply := h.session(stream(flags, records...))
	if reply == nil || reply.Status != 0 {
		t.Fatalf("reply %+v", reply)
	}
	return readRecords(t, filepath.Join(h.dir, "incoming", id))
}

// lines are the payloads of the given record types, in order.
func lines(list []rec, types string) []string {
	var out []string
	for _, r := range list {
		if strings.IndexByte(types, byte(r.t)) >= 0 {
			out = append(out, r.p)
		}
	}
	return out
}

// headers are the header lines without those with times and ids in them.
func headers(list []rec) string {
	var b strings.Builder
	for _, r := range list {
		if r.t == record.Norm {
			if r.p == "" {
				break
			}
			name, _, _ := strings.Cut(r.p, ":")
			switch name {
			case "Message-Id", "Date", "Resent-Message-Id", "Resent-Date":
				b.WriteString(name + "\n")
			default:
				b.WriteString(r.p + "\n")
			}
		}
	}
	return b.String()
}

func TestRefusals(t *testing.T) {
	many := strings.Repeat("Aclient_name=x\n", 101)
	hops := strings.Repeat("NReceived: x\n", 50)
	for _, tt := range []struct {
		name    string
		records []string
		want    mailproto.CleanupStatus
	}{
		{"no sender", with("T1 0", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"no time", with("Sa@b", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"no recipient", with(head, "M", "X", "E"), mailproto.CleanupNoRcpt},
		{"two senders", with(head, "Sx@y", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"pointer", with(one, "p            100", "X", "E"), mailproto.CleanupBad},
		{"padding", with(one, "w   0", "X", "E"), mailproto.CleanupBad},
		{"content in the envelope", with(head, "Nx", "M", "X", "E"), mailproto.CleanupBad},
		{"recipient in the content", with(one, "Ra@b", "X", "E"), mailproto.CleanupBad},
		{"end in the envelope", with(head, "E"), mailproto.CleanupBad},
		{"end in the content", with(one, "Na: b", "E"), mailproto.CleanupBad},
		{"content after the content", with(one, "X", "Nx", "E"), mailproto.CleanupBad},
		{"101 attributes", with(head, strings.Split(strings.TrimSpace(many), "\n"), "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"ret_flags 3", with(head, "Aret_flags=3", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"envelope_id with a tab", with(head, "Aenvelope_id=a\tb", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"options that are none", with(head, "C-1 -1 -1 -1 -1 9999999999999999999", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"options that do not fit", with(head, "C-1 -1 -1 -1 -1 1234567890123456789", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"options that cannot be read again", with(head, "C-1 -1 -1 -1 -1 4294967296", "Ra@b", "M", "X", "E"), mailproto.CleanupBad},
		{"hop count", with(one, strings.Split(strings.TrimSpace(hops), "\n"), "N", "Nb", "X", "E"), mailproto.CleanupHops},
		{"size of the body", with(one, "N", "N"+strings.Repeat("x", 3000), "N"+strings.Repeat("x", 3000), "X", "E"), mailproto.CleanupSize},
		{"size of the envelope", with(head, strings.Split(strings.TrimSpace(strings.Repeat("Rbob@virt.example\n", 1)), "\n"), "Ax="+strings.Repeat("y", 6000), "M", "X", "E"), mailproto.CleanupSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), map[string]string{"message_size_limit": "5000"})
			_, reply := h.session(stream(external, tt.records...))
			if reply == nil || reply.Status != tt.want {
				t.Errorf("reply %+v, want status %d", reply, tt.want)
			}
			if files := h.files(); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
			if h.wakes != 0 {
				t.Error("qmgr was woken up")
			}
		})
	}
}

func TestEnvelopeRules(t *testing.T) {
	for _, tt := range []struct{ name, add, types, want string }{
		{"options of a requeued message", "C 1 2 3 4 5 33", "C", " 33"},
		{"derived options are dropped", "C 1 2 3 4 5 63", "C", " 33"},
		{"time of the queue entry is ours", "Acreate_time=7", "A", "!create_time=7"},
		{"empty attribute", "Aclient_name=", "A", "!client_name="},
		{"second time", "T5 5", "T", "!5 5"},
		{"done recipient", "Dold@virt.example", "ROD", "!old@"},
		{"cancelled recipient", "/old@virt.example", "RO/", "!old@"},
		{"malformed notify", "Anotify_flags=3", "A", "!notify_flags"},
		{"filter", "Lsmtp:[x]", "L", "smtp:[x]"},
		{"envelope id", "Aenvelope_id=abc+42", "A", "envelope_id=abc+42"},
		{"envelope id with a blank", "Aenvelope_id=a b", "A", "envelope_id=a b"}, // ENVID=a+20b
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), nil)
			got := strings.Join(lines(accept(t, h, external, with(head, tt.add, "Rbob@virt.example", "M", "X", "E")), tt.types), "|")
			if unwanted, not := strings.CutPrefix(tt.want, "!"); not {
				if strings.Contains(got, unwanted) {
					t.Errorf("%q is in the file", unwanted)
				}
			} else if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			if h.wakes != 1 {
				t.Errorf("qmgr was woken up %d times", h.wakes)
			}
		})
	}
}

func TestDelayWarning(t *testing.T) {
	set := map[string]string{"delay_warning_time": "4h"}
	for sender, want := range map[string]int{"sender@remote.example": 1, "": 0} {
		h := newHouse(t, t.TempDir(), set)
		got := accept(t, h, external, with("T1795378728 0", "S"+sender, "Rbob@virt.example", "M", "X", "E"))
		w := lines(got, "W")
		if len(w) != want {
			t.Fatalf("sender %q: %d records", sender, len(w))
		}
		if want == 1 && (len(w[0]) != 15 || strings.Join(types(got), "")[:5] != "CTASW") {
			t.Errorf("record %q in %v", w[0], types(got))
		}
	}
}

func types(list []rec) []string {
	var s []string
	for _, r := range list {
		s = append(s, string(rune(r.t)))
	}
	return s
}

func TestHeaders(t *testing.T) {
	const dflt = "Message-Id\nDate\nFrom: sender@remote.example\n"
	for _, tt := range []struct {
		name string
		set  map[string]string
		add  []string
		in   string
		want string
	}{
		{"nothing", nil, nil, "", dflt},
		{"complete", nil, nil, "Message-ID: <x@y>\nDate: d\nFrom: a@b", "Message-ID: <x@y>\nDate\nFrom: a@b\n"},
		{"completed", nil, nil, "To: bob, Al <al> (x)\nCc: a@b", "To: bob@mail.example.com, Al <al@mail.example.com> (x)\nCc: a@b\n" + dflt},
		{"folded", nil, nil, "To: a,\n b@c\nSubject: x\n\ty", "To: a@mail.example.com,\n b@c\nSubject: x\n\ty\n" + dflt},
		{"dropped", nil, nil, "Bcc: a\nReturn-Path: <x>\nContent-Length: 3\nX: y", "X: y\n" + dflt},
		{"blank before the colon", nil, nil, "Subject : x", "Subject: x\n" + dflt},
		{"resent", nil, nil, "Resent-To: rr", "Resent-To: rr@mail.example.com\nResent-Message-Id\nResent-Date\nResent-From: sender@remote.example\n"},
		{"full name", nil, []string{"FAlice B. Example"}, "", "Message-Id\nDate\nFrom: \"Alice B. Example\" <sender@remote.example>\n"},
		{"obsolete form", map[string]string{"header_from_format": "obsolete"}, []string{"FAlice (x)"}, "", "Message-Id\nDate\nFrom: sender@remote.example (Alice \\(x\\))\n"},
		{"undisclosed", map[string]string{"undisclosed_recipients_header": "To: undisclosed-recipients:;"}, nil, "", dflt + "To: undisclosed-recipients:;\n"},
		{"remote", nil, []string{"Arewrite_context=remote"}, "To: bob\nSubject: x", "To: bob\nSubject: x\n"},
		{"remote, always added", map[string]string{"always_add_missing_headers": "yes"}, []string{"Arewrite_context=remote"}, "To: bob", "To: bob\n" + dflt},
		{"remote with domain", map[string]string{"remote_header_rewrite_domain": "x.invalid"}, []string{"Arewrite_context=remote"}, "To: bob", "To: bob@x.invalid\n"},
		{"require TLS", nil, []string{"C 1 1 1 1 1 32"}, "", dflt + "Require-TLS-ESMTP: yes\n"},
		{"require TLS is there", nil, []string{"C 1 1 1 1 1 32"}, "Require-TLS-ESMTP: YES", "Require-TLS-ESMTP: YES\n" + dflt},
		{"cut at the limit", map[string]string{"header_size_limit": "20"}, nil, "X: 34567890123456789\n 2345", "X: 34567890123456789\n" + dflt},
		{"carriage return", nil, nil, "X: a\rb", "X: a b\n" + dflt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), tt.set)
			var in []string
			for _, l := range strings.Split(tt.in, "\n") {
				if l != "" {
					in = append(in, "N"+l)
				}
			}
			got := accept(t, h, external, with(head, tt.add, "Rbob@virt.example", "M", in, "N", "Nbody", "X", "E"))
			if s := headers(got); s != tt.want {
				t.Errorf("got\n%s\nwant\n%s", s, tt.want)
			}
			if body := lines(got, "N"); body[len(body)-1] != "body" {
				t.Errorf("the body is %q", body[len(body)-1])
			}
		})
	}
}

func TestNotAHeaderEndsTheHeader(t *testing.T) {
	h := newHouse(t, t.TempDir(), nil)
	got := lines(accept(t, h, external, with(one, "NFrom: a@b", "NMessage-Id: <x@y>", "NDate: d", "Nno header", "Nbody", "X", "E")), "N")
	want := "From: a@b|Message-Id: <x@y>|Date: d||no header|body"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got %q, want %q", s, want)
	}
}

func TestRecipients(t *testing.T) {
	alias := func(pairs ...string) map[string]string {
		return map[string]string{"virtual_alias_maps": "inline:{{" + strings.Join(pairs, "},{") + "}}", "recipient_delimiter": "+"}
	}
	for _, tt := range []struct {
		name string
		set  map[string]string
		in   []string
		want string // O>R of each recipient
	}{
		{"completed", nil, []string{"Rbob"}, "bob>bob@mail.example.com"},
		{"empty", nil, []string{"R"}, "MAILER-DAEMON>MAILER-DAEMON@mail.example.com"},
		{"original kept", nil, []string{"Oo@x", "Rbob@virt.example"}, "o@x>bob@virt.example"},
		{"twice", nil, []string{"Ra@b", "Ra@b", "RA@B"}, "a@b>a@b"},
		{"alias", alias("i@v=a@b, c@d"), []string{"Ri@v"}, "i@v>a@b i@v>c@d"},
		{"alias of alias", alias("i@v=j@v", "j@v=k"), []string{"Ri@v"}, "i@v>k@mail.example.com"},
		{"alias of itself", alias("i@v=i@v, a@b"), []string{"Ri@v"}, "i@v>i@v i@v>a@b"},
		{"extension is passed on", alias("i@v=a@b"), []string{"Ri+x@v"}, "i+x@v>a+x@b"},
		{"bare name in mydestination", alias("i=a@b"), []string{"Ri+x@localhost"}, "i+x@localhost>a+x@b"},
		{"bare name in myorigin", map[string]string{"virtual_alias_maps": "inline:{i=a@b}", "myorigin": "example.com"}, []string{"Ri", "Ri@Example.COM"}, "i>a@b i@Example.COM>a@b"},
		{"bare name elsewhere", alias("i=a@b"), []string{"Ri@virt.example"}, "i@virt.example>i@virt.example"},
		{"catch-all", alias("@v=a@b"), []string{"Ri@v"}, "i@v>a@b"},
		{"domain alias", alias("@v=@w"), []string{"Ri@v"}, "i@v>i@w"},
		{"canonical", map[string]string{"recipient_canonical_maps": "inline:{a@b=c@d}"}, []string{"Ra@b"}, "a@b>c@d"},
		{"always_bcc", map[string]string{"always_bcc": "copy"}, []string{"Ra@b"}, "a@b>a@b copy@mail.example.com>copy@mail.example.com"},
		{"recipient_bcc_maps", map[string]string{"recipient_bcc_maps": "inline:{a@b=c@d}"}, []string{"Ra@b"}, "a@b>a@b c@d>c@d"},
		{"sender_bcc_maps", map[string]string{"sender_bcc_maps": "inline:{sender@remote.example=c@d}"}, []string{"Ra@b"}, "a@b>a@b c@d>c@d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), tt.set)
			got := accept(t, h, external, with(head, tt.in, "M", "X", "E"))
			or := lines(got, "OR")
			var pairs []string
			for i := 0; i+1 < len(or); i += 2 {
				pairs = append(pairs, or[i]+">"+or[i+1])
			}
			if s := strings.Join(pairs, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if f := strings.Fields(got[0].p); f[2] != strconv.Itoa(len(pairs)) {
				t.Errorf("count %s", f[2])
			}
		})
	}
}

func TestExpansionWithoutEndIsDeferred(t *testing.T) {
	for name, table := range map[string]string{
		"loop":      "inline:{{r1@v=r2@v},{r2@v=r1@v}}",
		"size":      "inline:{{r1@v=a@b c@d e@f g@h}}",
		"length":    "inline:{r1@v=" + strings.Repeat("a", 60) + "@b}",
		"broken":    "fail:broken",
		"exploding": "inline:{{r1@v=r2@v r2@v},{r2@v=r3@v r3@v},{r3@v=r1@v r1@v}}",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), map[string]string{
				"virtual_alias_maps": table, "virtual_alias_expansion_limit": "3",
				"virtual_alias_recursion_limit": "10", "virtual_alias_address_length_limit": "50",
			})
			_, reply := h.session(stream(external, with(head, "Rr1@v", "M", "X", "E")...))
			if reply == nil || reply.Status != mailproto.CleanupDefer || reply.Reason != "4.6.0 Alias expansion error" {
				t.Errorf("reply %+v", reply)
			}
			if files := h.files(); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func TestExpansionIsReported(t *testing.T) {
	h := newHouse(t, t.TempDir(), map[string]string{"virtual_alias_maps": "inline:{{i@v=a@b c@d}}"})
	got := accept(t, h, external, with(head, "Anotify_flags=6", "Ri@v", "M", "X", "E"))
	if len(h.sent) != 1 || h.paths[0] != "private/trace" || h.sent[0].DSN.Action != dsn.ActionExpanded || h.sent[0].Recipient.Addr != "i@v" {
		t.Errorf("reports %+v", h.sent)
	}
	if n := strings.Count(strings.Join(lines(got, "A"), "|"), "notify_flags=4"); n != 2 {
		t.Errorf("%d recipients with notify_flags=4", n)
	}
}

func TestExtractedRecipients(t *testing.T) {
	h := newHouse(t, t.TempDir(), nil)
	got := accept(t, h, external, with(head, "M", "NMessage-Id: <x@y>", "N", "X", "Ra@b", "Rcarol", "E"))
	s := strings.Join(types(got), "")
	if i := strings.IndexByte(s, 'X'); s[i:] != "XAAORAORE" {
		t.Errorf("records after the content: %s", s[i:])
	}
}

func TestHoldAndDiscard(t *testing.T) {
	for flag, dir := range map[string]string{"f4": "hold", "f8": ""} {
		h := newHouse(t, t.TempDir(), nil)
		id, reply := h.session(stream(external, with(head, "Rbob@virt.example", flag, "M", "X", "E")...))
		if reply == nil || reply.Status != 0 {
			t.Fatalf("reply %+v", reply)
		}
		var want []string
		if dir != "" {
			want = []string{filepath.Join(h.dir, dir, id)}
		}
		if got := h.files(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: files %v, want %v", flag, got, want)
		}
		if h.wakes != 0 {
			t.Errorf("%s: qmgr was woken up", flag)
		}
	}
}

func TestBounce(t *testing.T) {
	hops := strings.Split(strings.TrimSpace(strings.Repeat("NReceived: x\n", 50)), "\n")
	for _, tt := range []struct {
		name    string
		records []string
		fail    error
		code    string
		ret     dsn.Ret
		want    mailproto.CleanupStatus
	}{
		{"hops", with(head, "Aret_flags=1", "Rbob@virt.example", "M", hops, "N", "X", "E"), nil, "5.4.0", dsn.RetFull, 0},
		{"size", with(one, "N", "N"+strings.Repeat("x", 9000), "X", "E"), nil, "5.3.4", dsn.RetHdrs, 0},
		{"bounce is down", with(one, hops, "N", "X", "E"), errors.New("down"), "5.4.0", 0, mailproto.CleanupHops | mailproto.CleanupWrite},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, t.TempDir(), map[string]string{"message_size_limit": "5000"})
			h.fail = tt.fail
			_, reply := h.session(stream(external|mailproto.CleanupBounce, tt.records...))
			if reply == nil || reply.Status != tt.want {
				t.Fatalf("reply %+v, want status %d", reply, tt.want)
			}
			if len(h.sent) == 0 || h.sent[0].Command != mailproto.BounceAppend || h.sent[0].DSN.Code != tt.code || h.sent[0].Recipient.Addr != "bob@virt.example" {
				t.Fatalf("requests %+v", h.sent)
			}
			if tt.fail == nil {
				if last := h.sent[len(h.sent)-1]; last.Command != mailproto.BounceFlush || last.Ret != tt.ret || last.QueueName != "incoming" {
					t.Errorf("last request %+v", last)
				}
			}
			if files := h.files(); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func TestLargeBodyIsCopiedExactly(t *testing.T) {
	h := newHouse(t, t.TempDir(), nil)
	var in, want []string
	for i := range 3000 {
		line := strings.Repeat(string(rune('a'+i%26)), i%2040)
		kind := "N"
		if i%7 == 3 {
			kind = "L"
		}
		in = append(in, kind+line)
		want = append(want, line)
	}
	in = append(in, "Nstray\rCR", "N"+strings.Repeat("z", 5000))
	want = append(want, "stray CR", strings.Repeat("z", 2048), strings.Repeat("z", 2048), strings.Repeat("z", 904))
	got := accept(t, h, external, with(one, "NMessage-Id: <x@y>", "NDate: d", "NFrom: a@b", "N", in, "X", "E"))
	body := lines(got, "NL")[4:]
	if len(body) != len(want) {
		t.Fatalf("%d lines, want %d", len(body), len(want))
	}
	for i := range want {
		if body[i] != want[i] {
			t.Fatalf("line %d: %.80q, want %.80q", i, body[i], want[i])
		}
	}
	f := strings.Fields(got[0].p)
	content, _ := strconv.Atoi(f[0])
	offset, _ := strconv.Atoi(f[1])
	b, err := os.ReadFile(h.files()[0])
	if err != nil || b[offset+content] != 'X' || b[offset-2] != 'M' || f[4] != f[0] {
		t.Errorf("sizes %v do not fit", f)
	}
}

func TestClientLeaves(t *testing.T) {
	whole := stream(external, with(one, "NSubject: x", "N", "Nbody", "X", "E")...)
	for n := range whole {
		h := newHouse(t, t.TempDir(), nil)
		if _, reply := h.session(whole[:n]); reply != nil {
			t.Fatalf("cut at %d: reply %+v", n, reply)
		}
		if files := h.files(); len(files) != 0 {
			t.Fatalf("cut at %d left %v", n, files)
		}
	}
}

// tokens is flow control with a few tokens.
type tokens int

func (f *tokens) Wait(context.Context, time.Duration) bool {
	if *f == 0 {
		return false
	}
	*f--
	return true
}

func (f *tokens) PutTokens(n int) { *f += tokens(n) }

// TestTokensComeBack: a message that qmgr does not see gives its flow control
// token back; one that it sees does not, and none comes from nothing.
func TestTokensComeBack(t *testing.T) {
	whole := stream(external, with(one, "NSubject: x", "N", "Nbody", "X", "E")...)
	held := stream(external, with(head, "Rbob@virt.example", "f4", "M", "X", "E")...)
	refused := stream(external, with(head, "M", "X", "E")...)
	for name, c := range map[string]struct {
		stream       []byte
		before, want tokens
	}{
		"queued":                {whole, 3, 2},
		"client left":           {whole[:len(whole)-5], 3, 3},
		"client left, no token": {whole[:len(whole)-5], 0, 0},
		"held":                  {held, 3, 3},
		"held, no token":        {held, 0, 0},
		"no recipients":         {refused, 3, 3},
	} {
		h := newHouse(t, t.TempDir(), nil)
		left := c.before
		h.w.flow = &left
		h.session(c.stream)
		if left != c.want {
			t.Errorf("%s: %d tokens, want %d", name, left, c.want)
		}
	}
}

func TestNoQueue(t *testing.T) {
	h := newHouse(t, t.TempDir(), nil)
	if err := os.RemoveAll(filepath.Join(h.dir, "incoming")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "incoming"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, reply := h.session(stream(external, with(one, "N", "X", "E")...))
	if reply == nil || reply.Status != mailproto.CleanupWrite {
		t.Errorf("reply %+v", reply)
	}
}
