package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sealpost/lib/dsn"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
	"sealpost/test/capture"
)

func recorded(t testing.TB, name string, limit int) *Message {
	t.Helper()
	m, err := ReadMessage(bytes.NewReader(capture.QueueFile(t, name).Data), limit)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadMessage(t *testing.T) {
	got := recorded(t, "plain", 0)
	want := &Message{
		Size:       SizeRecord{ContentSize: 340, DataOffset: 690, Rcpts: 1, ContentLen: 340},
		DataOffset: 690,
		DataSize:   340,
		Arrival:    time.Unix(1795378912, 383811000),
		CreateTime: time.Unix(1795378912, 0),
		Sender:     "sender@remote.example",
		Client: mailproto.ClientAttrs{
			LogName: "localhost", LogAddr: "127.0.0.1", LogPort: "50422", LogProto: "ESMTP",
			LogHelo: "client.example", LogIdent: "5F6F39C06A1", RewriteContext: "local",
		},
		MessageID:   "<spec-plain@remote.example>",
		WarnOffset:  -1,
		TraceOffset: -1,
		Recipients: []mailproto.Recipient{{
			OrigAddr: "hold-bob@virt.example", Addr: "hold-bob@virt.example",
			Offset: 665, OrigRcpt: "rfc822;hold-bob@virt.example",
		}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Message{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReadMessageParts(t *testing.T) {
	for _, c := range []struct {
		file string
		got  func(m *Message) any
		want any
	}{
		{"requiretls", func(m *Message) any { return m.SendOpts }, sendopts.RequireTLSESMTP},
		{"tls-required-no", func(m *Message) any { return m.SendOpts }, sendopts.RequireTLSHeader},
		{"smtputf8", func(m *Message) any { return m.Encoding }, "8bit"},
		{"longline-nullsender", func(m *Message) any { return m.Sender }, ""},
		{"active", func(m *Message) any { return m.FullName }, "Alice Example"},
		{"active", func(m *Message) any { return m.TraceFlags }, mailproto.DeliverRecord},
		{"active", func(m *Message) any { return m.TraceOffset }, int64(202)},
		{"active", func(m *Message) any { return addrs(m) }, "s@slow.example@371"},
		{"active", func(m *Message) any { return m.Recipients[0].Notify }, dsn.NotifySuccess | dsn.NotifyFailure},
		{"milter-held-hdr", func(m *Message) any { return m.Sender }, "newsender@virt.example"},
		{"milter-held-hdr", func(m *Message) any { return m.Ret }, dsn.RetFull},
		{"milter-held-hdr", func(m *Message) any { return addrs(m) }, "hold-dave@virt.example@770 carol@virt.example@1354"},
		{"milter-held-hdr", func(m *Message) any { return m.DataSize }, int64(381)},
		{"delaywarn-W", func(m *Message) any { return !m.WarnTime.IsZero() && m.WarnOffset > 0 }, true},
		{"deferred-delaywarn-after", func(m *Message) any { return m.WarnTime.IsZero() && m.WarnOffset > 0 }, true},
	} {
		t.Run(c.file, func(t *testing.T) {
			if got := c.got(recorded(t, c.file, 0)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func addrs(m *Message) string {
	var all []string
	for _, r := range m.Recipients {
		all = append(all, fmt.Sprintf("%s@%d", r.Addr, r.Offset))
	}
	return strings.Join(all, " ")
}

// build makes a queue file: envelope recipients, extracted recipients.
func build(qflags int, envelope, extracted []string) []byte {
	env := func(b []byte) []byte {
		b = record.Append(b, record.Time, "1795378912 383811")
		b = record.Append(b, record.From, "sender@example.com")
		for _, r := range envelope {
			b = addRcpt(b, r)
		}
		return record.Append(b, record.Message, "")
	}
	content := record.Append(nil, record.Norm, "Subject: x")
	s := SizeRecord{ContentSize: int64(len(content)), QmgrFlags: qflags}
	s.DataOffset = int64(SizeLen + len(env(nil)))
	b := append(env(AppendSize(nil, s)), content...)
	b = record.Append(b, record.Extracted, "")
	b = record.AppendAttr(b, "message_id", "<x@y>")
	for _, r := range extracted {
		b = addRcpt(b, r)
	}
	if qflags&QmgrMixed != 0 {
		b = record.Append(b, record.Filter, "late:filter")
	}
	return record.Append(b, record.End, "")
}

func addRcpt(b []byte, addr string) []byte {
	b = record.AppendAttr(b, "dsn_orig_rcpt", "rfc822;"+addr)
	b = record.Append(b, record.OrigRcpt, "orig-"+addr)
	return record.Append(b, record.Rcpt, addr)
}

func TestReadMoreGivesEveryRecipientOnce(t *testing.T) {
	for _, c := range []struct {
		name                string
		qflags              int
		envelope, extracted []string
	}{
		{"envelope", 0, []string{"a", "b", "c", "d", "e"}, nil},
		{"extracted", 0, nil, []string{"a", "b", "c", "d", "e"}},
		{"both", 0, []string{"a", "b", "c"}, []string{"d", "e"}},
		{"both, mixed with other records", QmgrMixed, []string{"a", "b", "c"}, []string{"d", "e"}},
		{"none", 0, nil, nil},
	} {
		for limit := range 7 {
			t.Run(fmt.Sprintf("%s by %d", c.name, limit), func(t *testing.T) {
				f := bytes.NewReader(build(c.qflags, c.envelope, c.extracted))
				m, err := ReadMessage(f, limit)
				if err != nil {
					t.Fatal(err)
				}
				if m.MessageID != "<x@y>" || (c.qflags&QmgrMixed != 0) != (m.Filter != "") {
					t.Errorf("first batch: message id %q, filter %q", m.MessageID, m.Filter)
				}
				var got []string
				for {
					if limit > 0 && len(m.Recipients) > limit {
						t.Errorf("%d recipients in a batch of %d", len(m.Recipients), limit)
					}
					for _, r := range m.Recipients {
						if r.OrigAddr != "orig-"+r.Addr || r.OrigRcpt != "rfc822;"+r.Addr {
							t.Errorf("recipient %+v", r)
						}
						got = append(got, r.Addr)
					}
					if !m.More() {
						break
					}
					if err := m.ReadMore(f, limit); err != nil {
						t.Fatal(err)
					}
				}
				if want := append(append([]string(nil), c.envelope...), c.extracted...); !cmp.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestReadMoreSkipsDone(t *testing.T) {
	data := build(0, []string{"a", "b", "c"}, nil)
	m, err := ReadMessage(bytes.NewReader(data), 1)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ReadMessage(bytes.NewReader(data), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := MarkDone(writerAt(data), all.Recipients[1].Offset); err != nil {
		t.Fatal(err)
	}
	if err := m.ReadMore(bytes.NewReader(data), 5); err != nil || len(m.Recipients) != 1 || m.Recipients[0].Addr != "c" {
		t.Errorf("got %v, %v", m.Recipients, err)
	}
	if m.More() {
		t.Error("still more")
	}
}

type writerAt []byte

func (w writerAt) WriteAt(b []byte, off int64) (int, error) { return copy(w[off:], b), nil }

func TestMarks(t *testing.T) {
	f := capture.QueueFile(t, "deferred-delaywarn-before")
	m, err := ReadMessage(bytes.NewReader(f.Data), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := MarkWarned(writerAt(f.Data), m.WarnOffset); err != nil {
		t.Fatal(err)
	}
	if after := capture.QueueFile(t, "deferred-delaywarn-after"); !bytes.Equal(f.Data[m.WarnOffset:m.WarnOffset+17], after.Data[m.WarnOffset:m.WarnOffset+17]) {
		t.Errorf("W record: %q, Postfix wrote %q", f.Data[m.WarnOffset:m.WarnOffset+17], after.Data[m.WarnOffset:m.WarnOffset+17])
	}
	if err := MarkKilled(writerAt(f.Data), m.WarnOffset); err != nil {
		t.Fatal(err)
	}
	if m, err = ReadMessage(bytes.NewReader(f.Data), 0); err != nil || m.WarnOffset != -1 {
		t.Errorf("after MarkKilled: %d, %v", m.WarnOffset, err)
	}
}

// readAll reads what a delivery needs: envelope and content.
func readAll(data []byte) (string, error) {
	f := bytes.NewReader(data)
	m, err := ReadMessage(f, 0)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", *m)
	c := NewContent(f, m.DataOffset)
	for {
		text, more, err := c.Next()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%q %v\n", text, more)
	}
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	for _, f := range capture.Messages(t) {
		want, err := readAll(f.Data)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		for n := range len(f.Data) {
			got, err := readAll(f.Data[:n])
			if err == nil && got != want {
				t.Errorf("%s cut to %d bytes: taken for another message", f.Name, n)
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %v", f.Name, n, err)
			}
		}
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	whole := string(build(0, []string{"a@b"}, nil))
	for name, data := range map[string]string{
		"empty":              "",
		"no size record":     whole[SizeLen:],
		"maildrop size":      string(AppendSize(nil, SizeRecord{-1, -1, -1, -1, -1, 33})) + whole[SizeLen:],
		"unknown flags":      string(build(32, nil, nil)),
		"size not a number":  strings.Replace(whole, "   0", "  x0", 1),
		"no arrival time":    strings.Replace(whole, "T\x11", "F\x11", 1),
		"bad arrival time":   strings.Replace(whole, "1795378912 383811", "x795378912 383811", 1),
		"no sender":          strings.Replace(whole, "S\x12", "F\x12", 1),
		"type 0":             strings.Replace(whole, "S\x12", "\x00\x12", 1),
		"foreign type":       strings.Replace(whole, "S\x12", "Z\x12", 1),
		"content elsewhere":  strings.Replace(whole, "M\x00N", "F\x00N", 1),
		"no extracted part":  strings.Replace(whole, "X\x00", "N\x00", 1),
		"no end":             strings.TrimSuffix(whole, "E\x00"),
		"pointer to nothing": "C_" + whole[2:SizeLen] + "p\x0f         999999",
		"pointer to itself":  "C_" + whole[2:SizeLen] + "p\x0f             97",
		"negative pointer":   "C_" + whole[2:SizeLen] + "p\x0f             -7",
		"endless length":     "C_" + whole[2:SizeLen] + "T\xff\xff\xff\xff\x01",
		"great length":       "C_" + whole[2:SizeLen] + "T\xff\xff\xff\x7f",
	} {
		if _, err := ReadMessage(strings.NewReader(data), 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFileSystemErrorsAreNotCorruption(t *testing.T) {
	broken := errors.New("input/output error")
	_, err := ReadMessage(readerAt(func([]byte, int64) (int, error) { return 0, broken }), 0)
	if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

type readerAt func([]byte, int64) (int, error)

func (r readerAt) ReadAt(b []byte, off int64) (int, error) { return r(b, off) }
