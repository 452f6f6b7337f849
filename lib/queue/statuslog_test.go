package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/test/capture"
)

func readLog(t *testing.T, data []byte, service string) []StatusRecord {
	t.Helper()
	l := NewStatusLog(bytes.NewReader(data), DefaultStatus(service))
	var all []StatusRecord
	for {
		rec, err := l.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

// TestRecordedLogs reads Postfix's logs and writes the same bytes.
func TestRecordedLogs(t *testing.T) {
	for name, want := range map[string]int{"log-bounce": 2, "log-trace": 4, "log-defer": 1, "log-defer-alias": 1, "log-defer-dsn": 1} {
		f := capture.QueueFile(t, name)
		recs := readLog(t, f.Data, f.Queue)
		if len(recs) != want {
			t.Errorf("%s: %d records", name, len(recs))
		}
		var out []byte
		for _, rec := range recs {
			out = AppendStatusRecord(out, rec, true)
		}
		if diff := cmp.Diff(string(f.Data), string(out)); diff != "" {
			t.Errorf("%s: (-recorded +ours)\n%s", name, diff)
		}
	}
	rec := readLog(t, capture.QueueFile(t, "log-defer-alias").Data, Defer)[0]
	want := StatusRecord{
		Recipient: mailproto.Recipient{Addr: "eve@refused.example", OrigAddr: "info@valias.example", Offset: 742, OrigRcpt: "rfc822;info@valias.example"},
		Status:    dsn.Status{Code: "4.4.1", Action: "delayed", Reason: "connect to 127.0.0.3[127.0.0.3]:3999: Connection refused"},
	}
	if diff := cmp.Diff(want, rec); diff != "" {
		t.Error(diff)
	}
}

func TestAppendStatusRecord(t *testing.T) {
	for _, c := range []struct {
		name   string
		rec    StatusRecord
		compat bool
		want   string
	}{
		{"null recipient", StatusRecord{Status: dsn.Status{Code: "5.0.0", Action: "failed", Reason: "r"}}, true,
			"\n<>: r\nrecipient=<>\nstatus=5.0.0\naction=failed\nreason=r\n\n"},
		{"without the old line", StatusRecord{Recipient: mailproto.Recipient{Addr: "a@b", OrigAddr: "A@B"}, Status: dsn.Status{Code: "5.0.0", Action: "failed", Reason: "r"}}, false,
			"\nrecipient=a@b\nstatus=5.0.0\naction=failed\nreason=r\n\n"},
		{"half of a pair is left out", StatusRecord{Recipient: mailproto.Recipient{Addr: "a"}, Status: dsn.Status{Code: "5.0.0", Action: "failed", DiagType: "smtp", MTAName: "m", Reason: "r"}}, false,
			"\nrecipient=a\nstatus=5.0.0\naction=failed\nreason=r\n\n"},
		{"everything", StatusRecord{
			Recipient: mailproto.Recipient{Addr: "a", OrigAddr: "o", Offset: 7, OrigRcpt: "rfc822;o", Notify: 14},
			Status:    dsn.Status{Code: "5.1.1", Action: "failed", DiagType: "smtp", DiagText: "550 no", MTAType: "dns", MTAName: "m", Reason: "r"}}, false,
			"\nrecipient=a\noriginal_recipient=o\noffset=7\ndsn_orig_rcpt=rfc822;o\nnotify_flags=14\nstatus=5.1.1\naction=failed\ndiag_type=smtp\ndiag_text=550 no\nmta_type=dns\nmta_mname=m\nreason=r\n\n"},
		{"no forged lines", StatusRecord{Recipient: mailproto.Recipient{Addr: "a\nstatus=2.0.0"}, Status: dsn.Status{Code: "5.0.0", Action: "failed", Reason: "x\r\n\nrecipient=z"}}, true,
			"\n<a?status=2.0.0>: x???recipient=z\nrecipient=a?status=2.0.0\nstatus=5.0.0\naction=failed\nreason=x???recipient=z\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, string(AppendStatusRecord(nil, c.rec, c.compat))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTolerantLogReader(t *testing.T) {
	record := func(code, action, addr, reason string) StatusRecord {
		return StatusRecord{Recipient: mailproto.Recipient{Addr: addr}, Status: dsn.Status{Code: code, Action: action, Reason: reason}}
	}
	for _, c := range []struct {
		name, service, in string
		want              []StatusRecord
	}{
		{"empty", Bounce, "", nil},
		{"blank lines", Bounce, "\n\n\n", nil},
		{"old style", Bounce, "<a@b>: no such user\n", []StatusRecord{record("5.0.0", "failed", "a@b", "no such user")}},
		{"old style, two", Defer, "<a>: x\n\n<b>: y: >: z\n", []StatusRecord{record("4.0.0", "delayed", "a", "x"), record("4.0.0", "delayed", "b", "y: >: z")}},
		{"defaults", Defer, "status=4.4.1\n", []StatusRecord{record("4.4.1", "delayed", noRecipient, noReason)}},
		{"unknown names", Bounce, "recipient=a\ncolour=red\nreason=r\n\n", []StatusRecord{record("5.0.0", "failed", "a", "r")}},
		{"bad values", Bounce, "recipient=a\nstatus=9.9\noffset=x\nnotify_flags=3\nreason=r\n\n", []StatusRecord{record("5.0.0", "failed", "a", "r")}},
		{"cut off", Bounce, "recipient=a\nreason=r", []StatusRecord{record("5.0.0", "failed", "a", "r")}},
		{"long line", Bounce, "recipient=a\nreason=" + strings.Repeat("x", 2*maxLogLine) + "\n", []StatusRecord{record("5.0.0", "failed", "a", strings.Repeat("x", maxLogLine-7))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, readLog(t, []byte(c.in), c.service)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendStatus(t *testing.T) {
	q := tree(t, hashed(1))
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			rec := StatusRecord{Recipient: mailproto.Recipient{Addr: fmt.Sprint("r", i)}, Status: DefaultStatus(Defer)}
			if err := q.AppendStatus(t.Context(), Defer, "ABC", rec, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := q.OpenLog(t.Context(), Defer, "ABC")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, _ := io.ReadAll(f)
	seen := make(map[string]bool)
	for _, rec := range readLog(t, data, Defer) {
		seen[rec.Recipient.Addr] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d records", len(seen), n)
	}
	st, _ := f.Stat()
	if size, err := q.LogSize(Defer, "ABC"); err != nil || size != st.Size() || st.Mode().Perm() != 0o600 {
		t.Errorf("size %d, %v, mode %v", size, err, st.Mode())
	}
	if _, err := q.LogSize(Defer, "NONE"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}

func TestAppendStatusFailsWithoutTrace(t *testing.T) {
	for _, op := range []string{"write", "fsync", "fsync A"} {
		q := tree(t, hashed(1))
		rec := StatusRecord{Recipient: mailproto.Recipient{Addr: "first"}, Status: DefaultStatus(Defer)}
		before := ""
		if op != "fsync A" { // the directory of a new log
			if err := q.AppendStatus(t.Context(), Defer, "ABC", rec, true); err != nil {
				t.Fatal(err)
			}
			b, _ := os.ReadFile(q.Path(Defer, "ABC"))
			before = string(b)
		}
		sys := &faults{fail: map[string]error{op: unix.ENOSPC}}
		q.fs, q.dirs.fs = sys.fs(), sys.fs()
		if err := q.AppendStatus(t.Context(), Defer, "ABC", rec, true); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", op, err)
		}
		if b, err := os.ReadFile(q.Path(Defer, "ABC")); err != nil || string(b) != before {
			t.Errorf("%s: log is %q, %v", op, b, err)
		}
	}
}

// FuzzStatusLog: the reader ends, and a record that it gave is read back the
// same after it was written by us.
func FuzzStatusLog(f *testing.F) {
	for _, file := range capture.QueueFiles(f, "log-*") {
		f.Add(file.Data)
	}
	f.Add([]byte("<a>: b\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		l := NewStatusLog(bytes.NewReader(in), DefaultStatus(Bounce))
		for {
			rec, err := l.Next()
			if err != nil {
				return
			}
			out := AppendStatusRecord(nil, rec, true)
			once := readLog(t, out, Bounce)
			if len(once) != 1 {
				t.Fatalf("%d records in %q", len(once), out)
			}
			if twice := AppendStatusRecord(nil, once[0], true); !bytes.Equal(out, twice) {
				t.Errorf("written %q, then %q", out, twice)
			}
		}
	})
}
