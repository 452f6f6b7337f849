package logread

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const head = "Nov 22 18:35:34 mx postfix/smtp[2855]: 72E4D99A128: to="
	for _, tt := range []struct {
		line string
		want Delivery
		ok   bool
	}{
		{head + "<u@Enf.test>, relay=h[127.0.0.1]:25, delay=0.18, delays=0.02/0.02/0.09/0.05, tls=fingerprint/requiretls, dsn=2.0.0, status=sent (250 2.0.0 queued)",
			Delivery{"u@Enf.test", "enf.test", "fingerprint/requiretls", "2.0.0", "sent"}, true},
		{head + "<u@b.test>, orig_to=<x@c.test>, relay=none, delay=0, delays=0/0/0/0, dsn=5.4.4, status=bounced (unable, tls=fake, status=sent)",
			Delivery{"u@b.test", "b.test", "", "5.4.4", "bounced"}, true},
		{head + `<"odd>, relay=x"@b.test>, relay=none, delay=0, delays=0/0/0/0, tls=may?/requiretls?, dsn=4.4.1, status=deferred (x)`,
			Delivery{`"odd>, relay=x"@b.test`, "b.test", "may?/requiretls?", "4.4.1", "deferred"}, true},
		{head + "<postmaster>, relay=virtual, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent", Delivery{"postmaster", "postmaster", "", "2.0.0", "sent"}, true},
		{"Nov 22 18:35:34 mx postfix/qmgr[1]: 72E4D99A128: from=<a@b>, size=1, nrcpt=1 (queue active)", Delivery{}, false},
		{"Nov 22 18:35:34 mx postfix/cleanup[1]: X: reject: header Subject: x: to=<a@b>, relay=x", Delivery{}, false},
		{`{"time":"x","program":"smtp","event":"delivery","queue_id":"A","to":"u@b.test","relay":"h","tls":"dane/requiretls","dsn":"2.0.0","status":"sent","reason":"ok"}`,
			Delivery{"u@b.test", "b.test", "dane/requiretls", "2.0.0", "sent"}, true},
		{`{"time":"x","client":"h"}`, Delivery{}, false},
		{"{", Delivery{}, false},
		{"", Delivery{}, false},
	} {
		got, ok := Parse([]byte(tt.line))
		if ok != tt.ok || ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v, %v", tt.line, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSlots(t *testing.T) {
	for _, tt := range []struct {
		tls            string
		level, request Slot
		requested      bool
	}{
		{"dane/requiretls", Slot{"dane", "dane", false, true}, Slot{"requiretls", "requiretls", false, true}, true},
		{"may:none/requiretls:none", Slot{"may", "none", false, true}, Slot{"requiretls", "none", false, true}, true},
		{"!verify/!requiretls:nocertmatch", Slot{"verify", "verify", true, true}, Slot{"requiretls", "nocertmatch", true, true}, true},
		{"dane?/requiretls?", Slot{"dane", "dane", false, false}, Slot{"requiretls", "requiretls", false, false}, true},
		{"may", Slot{"may", "may", false, true}, Slot{"", "", false, true}, false},
		{"may/future", Slot{"may", "may", false, true}, Slot{"future", "future", false, true}, false},
	} {
		level, request, requested := Delivery{TLS: tt.tls}.Slots()
		if level != tt.level || request != tt.request || requested != tt.requested {
			t.Errorf("%s: %+v, %+v, %v", tt.tls, level, request, requested)
		}
	}
}

func line(n int) string {
	return fmt.Sprintf("Nov 22 18:35:34 mx postfix/smtp[1]: A%d: to=<u@d%d.test>, relay=h, delay=0, delays=0/0/0/0, tls=may, dsn=2.0.0, status=sent (ok)\n", n, n%7)
}

func TestRead(t *testing.T) {
	var log strings.Builder
	for n := range 100 {
		log.WriteString("Nov 22 18:35:34 mx something else\n" + line(n))
		if n == 50 {
			log.WriteString(strings.Repeat("x", 3*maxLine) + line(n)) // one long line
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, log.String())
	z.Close()
	for name, r := range map[string]io.Reader{"text": strings.NewReader(log.String()), "compressed": &packed} {
		n := 0
		if err := Read(r, func(Delivery) { n++ }); err != nil || n != 100 {
			t.Errorf("%s: %d deliveries, %v", name, n, err)
		}
	}
	broken := errors.New("broken")
	err := Read(io.MultiReader(strings.NewReader(line(1)+line(2)), errReader{broken}), func(Delivery) {})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// FuzzParse: whatever a line has, a delivery that is found has a status and a code, and
// its slots can be read.
func FuzzParse(f *testing.F) {
	f.Add([]byte(line(1)))
	f.Add([]byte(`{"to":"a@b","status":"sent","dsn":"2.0.0","tls":"may/!requiretls:none"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok := Parse(b); ok {
			if d.Status == "" || d.DSN == "" {
				t.Errorf("%q: %+v", b, d)
			}
			d.Slots()
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := strings.Repeat(line(1)+"Nov 22 18:35:34 mx postfix/qmgr[1]: A1: removed\n", 1000)
	b.SetBytes(int64(len(text)))
	for range b.N {
		if err := Read(strings.NewReader(text), func(Delivery) {}); err != nil {
			b.Fatal(err)
		}
	}
}
