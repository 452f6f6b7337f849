package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"sealpost/lib/address"
	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/sendopts"
	"sealpost/lib/service"
)

// serve handles one connection: one request, one reply (protocols.md §2.7).
func (b *bouncer) serve(ctx context.Context, s *service.Session) {
	var e attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoBounce}.Append(&e)
	if _, err := s.Conn.Write(e.Bytes()); err != nil {
		return
	}
	s.Conn.SetReadDeadline(b.now().Add(b.set.IPCTimeout))
	req, err := mailproto.ReadBounceRequest(attr.NewDecoder(bufio.NewReaderSize(s.Conn, 4096), attr.Strict))
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	if err == nil {
		s.Log.Verbosef("%s: request %d for service %s from qmgr or agent", req.QueueID, req.Command, b.service)
		err = b.handle(ctx, s.Log, req)
	}
	reply := mailproto.StatusReply{}
	if err != nil {
		s.Log.Warnf("%s service: %v", b.service, err)
		reply.Status = -1
	}
	e.Reset()
	reply.Append(&e)
	if _, err := s.Conn.Write(e.Bytes()); err != nil {
		s.Log.Warnf("%s service: send status: %v", b.service, err)
	}
}

// handle carries out one request. Names from the peer are checked first: they
// become file names.
func (b *bouncer) handle(ctx context.Context, log *maillog.Logger, req *mailproto.BounceRequest) error {
	if !queue.ValidID(req.QueueID) {
		return fmt.Errorf("malformed queue id: %.100q", req.QueueID)
	}
	if req.Command != mailproto.BounceAppend && !queue.ValidName(req.QueueName) {
		return fmt.Errorf("malformed queue name: %.100q", req.QueueName)
	}
	if err := checkStatus(req); err != nil {
		return fmt.Errorf("%s: %w", req.QueueID, err)
	}
	err := b.dispatch(ctx, log, req)
	if err != nil && req.Flags&mailproto.BounceClean != 0 {
		b.queue.Remove(b.service, req.QueueID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", req.QueueID, err)
	}
	return nil
}

func checkStatus(req *mailproto.BounceRequest) error {
	if req.Command != mailproto.BounceAppend && req.Command != mailproto.BounceOne {
		return nil
	}
	if !dsn.ValidCode(req.DSN.Code) {
		return fmt.Errorf("malformed delivery status code: %.100q", req.DSN.Code)
	}
	return nil
}

func (b *bouncer) dispatch(ctx context.Context, log *maillog.Logger, req *mailproto.BounceRequest) error {
	if req.Command == mailproto.BounceAppend {
		rec := queue.StatusRecord{Recipient: req.Recipient, Status: req.DSN}
		rec.Recipient.Addr = address.Quote(rec.Recipient.Addr)
		rec.Recipient.OrigAddr = address.Quote(rec.Recipient.OrigAddr)
		return b.queue.AppendStatus(ctx, b.service, req.QueueID, rec, b.set.OldLogLines)
	}
	n, err := b.newNotice(log, req)
	if err != nil {
		return err
	}
	defer n.close()
	switch req.Command {
	case mailproto.BounceFlush, mailproto.BounceVERP:
		return b.flush(ctx, n)
	case mailproto.BounceWarn:
		return b.warn(ctx, n)
	case mailproto.BounceOne:
		return b.bounceOne(ctx, n)
	case mailproto.BounceTrace:
		return b.trace(ctx, n)
	}
	return fmt.Errorf("%w: %d", mailproto.ErrBounceCommand, req.Command)
}

// newNotice collects what a notification is about: the recipients of the log,
// and the message as far as it can be read. A message that is damaged or gone
// must not keep its sender from being told.
func (b *bouncer) newNotice(log *maillog.Logger, req *mailproto.BounceRequest) (*notice, error) {
	n := &notice{req: req, log: log, sender: req.Sender, sendOpts: req.SendOpts, ret: req.Ret}
	n.applyRequireTLS(b.set)
	if req.Command == mailproto.BounceOne {
		n.rcpts = []queue.StatusRecord{{Recipient: req.Recipient, Status: req.DSN}}
	} else if err := b.readLog(n); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(b.queue.Path(req.QueueName, req.QueueID), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		log.Warnf("%s: cannot read the message for its notification: %v", req.QueueID, err)
		return n, nil
	}
	n.file = f
	if n.msg, err = queue.ReadMessage(f, 1); err != nil {
		log.Warnf("%s: cannot read the message for its notification: %v", req.QueueID, err)
		n.msg = nil
	}
	return n, nil
}

// readLog reads the log file; one that does not exist has no recipients.
func (b *bouncer) readLog(n *notice) error {
	f, err := os.Open(b.queue.Path(b.service, n.req.QueueID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	l := queue.NewStatusLog(f, queue.DefaultStatus(b.service))
	for {
		rec, err := l.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log file: %w", err)
		}
		rec.Recipient.Addr = address.Unquote(rec.Recipient.Addr)
		rec.Recipient.OrigAddr = address.Unquote(rec.Recipient.OrigAddr)
		n.rcpts = append(n.rcpts, rec)
	}
}

// applyRequireTLS is requiretls.md §8.1, with decision 3: the headers-only rule
// holds for every notification about the message.
func (n *notice) applyRequireTLS(s settings) {
	if !s.RequireTLS || n.sendOpts&(sendopts.RequireTLSESMTP|sendopts.RequireTLSHeader) == 0 {
		return
	}
	if n.sendOpts.Has(sendopts.RequireTLSESMTP) {
		n.sendOpts &^= sendopts.RequireTLSHeader
		if s.RedactDSN {
			n.sendOpts &^= sendopts.RequireTLSESMTP
			n.ret = dsn.RetHdrs
			n.redacted = true
		}
	}
}
