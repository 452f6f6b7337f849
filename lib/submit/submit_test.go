package submit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"sealpost/lib/record"
	"sealpost/test/capture"
)

type rec struct {
	t record.Type
	p string
}

func envelopeOf(extra ...rec) []rec {
	return append(append([]rec{{record.Attr, "rewrite_context=local"}, {record.From, "s@a.example"}}, extra...),
		rec{record.Rcpt, "r@b.example"}, rec{record.Message, ""}, rec{record.Norm, "body"},
		rec{record.Extracted, ""}, rec{record.End, ""})
}

// feed returns the types that were kept, the notes, and the first error.
func feed(recs []rec) (kept string, notes []string, err error) {
	var c Checker
	for _, r := range recs {
		keep, note, err := c.Accept(r.t, []byte(r.p))
		if err != nil {
			return kept, notes, err
		}
		if keep {
			kept += string(rune(r.t))
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	if !c.Done() {
		return kept, notes, io.ErrUnexpectedEOF
	}
	return kept, notes, nil
}

func TestChecker(t *testing.T) {
	cases := map[string]struct {
		recs  []rec
		kept  string
		notes int
		err   error
	}{
		"plain":               {recs: envelopeOf(), kept: "ASRMNXE"},
		"client's time":       {recs: envelopeOf(rec{record.Time, "1 1"}), kept: "ASRMNXE"},
		"options":             {recs: envelopeOf(rec{record.Attr, "trace_flags=512"}, rec{record.Attr, "notify_flags=6"}, rec{record.VERP, "+="}), kept: "ASAAVRMNXE"},
		"probe cache flag":    {recs: envelopeOf(rec{record.Attr, "trace_flags=256"}), kept: "ASRMNXE", notes: 1},
		"login name":          {recs: envelopeOf(rec{record.Attr, "sasl_username=root"}), kept: "ASRMNXE", notes: 1},
		"client name":         {recs: envelopeOf(rec{record.Attr, "log_client_name=x"}), kept: "ASRMNXE", notes: 1},
		"contradicting flags": {recs: envelopeOf(rec{record.Attr, "notify_flags=3"}), kept: "ASRMNXE", notes: 1},
		"other context":       {recs: envelopeOf(rec{record.Attr, "rewrite_context=root"}), kept: "ASRMNXE", notes: 1},
		"no value":            {recs: envelopeOf(rec{record.Attr, "envelope_id"}), kept: "ASRMNXE", notes: 1},
		"pointer record":      {recs: envelopeOf(rec{record.Pointer, "0"}), err: ErrType},
		"filter":              {recs: envelopeOf(rec{record.Filter, "smtp:x"}), err: ErrType},
		"done recipient":      {recs: envelopeOf(rec{record.Done, "x"}), err: ErrType},
		"line break":          {recs: envelopeOf(rec{record.Rcpt, "a\nRCPT x"}), err: ErrPayload},
		"carriage return":     {recs: envelopeOf(rec{record.FullName, "a\rb"}), err: ErrPayload},
		"NUL":                 {recs: envelopeOf(rec{record.From, "a\x00b"}), err: ErrPayload},
		"NUL in a marker":     {recs: []rec{{record.From, ""}, {record.Message, "\x00"}}, err: ErrPayload},
		"line break in X":     {recs: []rec{{record.From, ""}, {record.Message, ""}, {record.Extracted, "a\nb"}}, err: ErrPayload},
		"line break in E":     {recs: []rec{{record.From, ""}, {record.Rcpt, "r"}, {record.Message, ""}, {record.Extracted, ""}, {record.End, "a\nb"}}, err: ErrPayload},
		"no sender":           {recs: envelopeOf()[2:], err: ErrIncomplete},
		"no recipient":        {recs: []rec{{record.From, ""}, {record.Message, ""}, {record.Extracted, ""}, {record.End, ""}}, err: ErrIncomplete},
		"recipient of -t":     {recs: []rec{{record.From, ""}, {record.Message, ""}, {record.Extracted, ""}, {record.Rcpt, "r"}, {record.End, ""}}, kept: "SMXRE"},
		"record in content":   {recs: []rec{{record.From, ""}, {record.Message, ""}, {record.Rcpt, "r"}}, err: ErrType},
		"after the end":       {recs: append(envelopeOf(), rec{record.End, ""}), err: ErrType},
		"cut off":             {recs: envelopeOf()[:4], err: io.ErrUnexpectedEOF},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			kept, notes, err := feed(c.recs)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && (kept != c.kept || len(notes) != c.notes) {
				t.Errorf("kept %q notes %q, want %q and %d notes", kept, notes, c.kept, c.notes)
			}
		})
	}
}

// TestRecordedSubmissionsPass: what the recorded sendmail sent is accepted whole.
func TestRecordedSubmissionsPass(t *testing.T) {
	conns := capture.Conns(t, "postdrop-from-sendmail")
	if len(conns) < 13 {
		t.Fatalf("only %d recordings", len(conns))
	}
	for _, c := range conns {
		r := record.NewReader(bufio.NewReader(bytes.NewReader(c.Client)), MaxRecord)
		var check Checker
		for !check.Done() {
			typ, p, err := r.Read()
			if err != nil {
				t.Fatalf("%s: %v", c.Name(), err)
			}
			keep, note, err := check.Accept(typ, p)
			if err != nil || !keep || note != "" {
				t.Errorf("%s: record %q %q: keep %v, note %q, error %v", c.Name(), typ, p, keep, note, err)
			}
		}
	}
}

// FuzzChecker: nothing but the records of a submission gets through, and no
// envelope payload with a line break.
func FuzzChecker(f *testing.F) {
	for _, c := range capture.Conns(f, "postdrop-from-sendmail") {
		f.Add(c.Client)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := record.NewReader(bufio.NewReader(bytes.NewReader(b)), MaxRecord)
		var check Checker
		inContent, ends := false, 0
		for {
			typ, p, err := r.Read()
			if err != nil {
				return
			}
			keep, _, err := check.Accept(typ, p)
			if err != nil {
				return
			}
			if !keep {
				continue
			}
			if strings.IndexByte("MCFSRVAinXLNE", byte(typ)) < 0 {
				t.Fatalf("type %q was kept", typ)
			}
			text := inContent && typ != record.Extracted
			if !text && bytes.ContainsAny(p, "\r\n\x00") {
				t.Fatalf("payload %q was kept in the envelope", p)
			}
			switch typ {
			case record.Message:
				inContent = true
			case record.Extracted:
				inContent = false
			case record.End:
				if ends++; ends > 1 || !check.Done() {
					t.Fatal("more than one end")
				}
			}
		}
	})
}
