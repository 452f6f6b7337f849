package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/header"
	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
)

var (
	// errRecord: a record that has no place in a submission; the message can
	// never be accepted.
	errRecord = errors.New("unexpected or malformed record type")
	// errNoSender: the envelope ended without a sender.
	errNoSender = errors.New("no envelope sender")
)

// source yields the records of a submission; it ends with the End record.
type source interface {
	Read() (record.Type, []byte, error)
}

// submission is one message on its way to cleanup.
type submission struct {
	p        *picker
	log      *maillog.Logger
	uid      int
	arrival  time.Time
	requeued string // the old queue id, when postsuper requeued the message
	sender   string
	haveTime bool
	haveFrom bool
}

// copyTo passes a message to cleanup with the changes of protocols.md §4.8 and
// returns cleanup's verdict.
func (s *submission) copyTo(ctx context.Context, src source, c *mailclient.Cleanup) (mailproto.CleanupReply, error) {
	var none mailproto.CleanupReply
	if err := s.envelope(src, c); err != nil {
		return none, err
	}
	s.logSubmission(c.QueueID())
	c.RecordString(record.Norm, fmt.Sprintf("Received: by %s (%s, from userid %d)", s.p.set.Hostname, s.p.set.MailName, s.uid))
	c.RecordString(record.Norm, "\tid "+c.QueueID()+"; "+header.Date(s.arrival))
	if err := s.content(src, c); err != nil {
		return none, err
	}
	if err := s.extracted(src, c); err != nil {
		return none, err
	}
	return c.Finish(ctx)
}

func (s *submission) logSubmission(id string) {
	s.log.Log(maillog.Info, &maillog.Submission{QueueID: id, UID: s.uid, Sender: address.Quote(s.sender), OrigID: s.requeued})
}

func (s *submission) envelope(src source, c *mailclient.Cleanup) error {
	if f := s.p.set.ContentFilter; f != "" {
		c.RecordString(record.Filter, f)
	}
	for {
		t, payload, err := src.Read()
		if err != nil {
			return err
		}
		if strings.IndexByte(record.EnvelopeTypes, byte(t)) < 0 {
			return fmt.Errorf("%w %d in envelope", errRecord, t)
		}
		switch t {
		case record.Filter, record.Redirect:
			continue // not a submitter's decision
		case record.Message:
			if !s.haveFrom {
				return errNoSender
			}
			c.Record(record.Message, nil)
			return nil
		case record.Time:
			s.haveTime = true
		case record.From:
			if !s.haveTime {
				c.RecordString(record.Time, strconv.FormatInt(s.arrival.Unix(), 10)+" "+strconv.Itoa(s.arrival.Nanosecond()/1000))
				s.haveTime = true
			}
			s.haveFrom = true
			s.sender = string(payload)
		}
		c.Record(t, payload)
	}
}

func (s *submission) content(src source, c *mailclient.Cleanup) error {
	first := true
	for {
		t, payload, err := src.Read()
		if err != nil {
			return err
		}
		if strings.IndexByte(record.ContentTypes, byte(t)) < 0 {
			return fmt.Errorf("%w %d in content", errRecord, t)
		}
		if first && len(payload) > 0 && (payload[0] == ' ' || payload[0] == '\t') {
			c.Record(record.Norm, nil) // or it would continue our Received: line
		}
		first = false
		if t == record.Pad {
			continue
		}
		c.Record(t, payload)
		if t == record.Extracted {
			return nil
		}
	}
}

func (s *submission) extracted(src source, c *mailclient.Cleanup) error {
	for {
		t, payload, err := src.Read()
		if err != nil {
			return err
		}
		if strings.IndexByte(record.ExtractedTypes, byte(t)) < 0 {
			return fmt.Errorf("%w %d in extracted records", errRecord, t)
		}
		switch t {
		case record.End:
			return nil // Finish sends it
		case record.ReturnRcpt, record.ErrorsTo, record.Filter, record.Redirect:
			continue
		case record.Attr:
			name, _, _ := record.SplitAttr(string(payload))
			if record.AttrType(name) == 0 {
				continue
			}
		}
		c.Record(t, payload)
	}
}

// truncated reports whether the source ended before the End record.
func truncated(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
