package header

import (
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"Subject: x": "Subject| x", "Subject:x": "Subject|x", "Subject : x": "Subject| x", "X-A_b:": "X-A_b|", "a\t:b": "a|b",
		"": "", ":x": "", " a: b": "", "no colon": "", "two words: x": "", "\x01: x": "", "a\x7f: b": "", "a": "", "a ": "",
		"\xc3\xa9: x": "\xc3\xa9| x",
	} {
		name, value, ok := Line([]byte(in))
		got := ""
		if ok {
			got = in[:name] + "|" + in[value:]
		}
		if got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	for i := range table {
		k := &table[i]
		if got := Find([]byte(k.Name)); got != k {
			t.Errorf("Find(%q) = %v", k.Name, got)
		}
	}
	if k := Find([]byte("REQUIRE-tls-esmtp")); k == nil || k.ID != RequireTLSESMTP {
		t.Errorf("names are compared with case: %v", k)
	}
	for _, name := range []string{"", "X-Other", "Too", "This-Name-Is-Longer-Than-Any-In-The-Table"} {
		if k := Find([]byte(name)); k != nil {
			t.Errorf("Find(%q) = %v", name, k)
		}
	}
}

func TestDate(t *testing.T) {
	for zone, want := range map[string]string{
		"UTC": "Sun, 22 Nov 2026 18:40:37 +0000 (UTC)", "MET": "Sun, 22 Nov 2026 18:40:37 +0100 (MET)", "EST": "Sun, 22 Nov 2026 18:40:37 -0500 (EST)",
	} {
		offset := map[string]int{"MET": 3600, "EST": -5 * 3600}[zone]
		if got := Date(time.Date(2026, 11, 22, 18, 40, 37, 0, time.FixedZone(zone, offset))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Date(time.Date(2026, 11, 2, 1, 2, 3, 0, time.UTC)); got != "Mon, 02 Nov 2026 01:02:03 +0000 (UTC)" {
		t.Errorf("one-digit day: %q", got)
	}
}

func TestAppendID(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 40, 37, 0, time.FixedZone("MET", 3600))
	if got := string(AppendID(nil, "AB12C4F", "mail.example.com", at, false)); got != "<20261122174037.AB12C4F@mail.example.com>" {
		t.Errorf("short id: %q", got)
	}
	if got := string(AppendID(nil, "4dLongIdz1", "mail.example.com", at, true)); got != "<4dLongIdz1@mail.example.com>" {
		t.Errorf("long id: %q", got)
	}
}

func TestValue(t *testing.T) {
	for in, want := range map[string]string{" yes ": "yes", "\n yes": "yes", "": "", " a\n b\t": "a\n b"} {
		if got := string(Value([]byte(in))); got != want {
			t.Errorf("Value(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("Subject : x"))
	f.Add([]byte("a:"))
	f.Fuzz(func(t *testing.T, line []byte) {
		name, value, ok := Line(line)
		if !ok {
			return
		}
		if name < 1 || value <= name || value > len(line) || line[value-1] != ':' || IsContinuation(line) {
			t.Errorf("Line(%q) = %d, %d", line, name, value)
		}
		Find(line[:name])
	})
}
