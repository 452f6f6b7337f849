// Package agent is the frame of every delivery agent: it receives delivery
// requests from the queue manager, opens the queue file, and records what
// happened to each recipient (spec: protocols.md §2.6, §2.7, §7.4).
//
// An agent implements one function, which delivers a request and calls Sent,
// Bounced or Deferred once for each recipient. Everything that must follow from
// such an outcome happens here, in this order: the log file of bounce, defer or
// trace is written by those services and has reached the disk; the recipient is
// marked done in the queue file; the outcome is logged. When a log cannot be
// written the recipient is not marked done: it will be tried again, and no
// status is ever lost.
//
// Address probes (sendmail -bv, verify) and recorded deliveries (sendmail -v)
// are decided here as well, by the flags of the request.
package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// A DeliverFunc delivers the recipients of one request.
type DeliverFunc func(ctx context.Context, d *Delivery)

// Delivery is one request being served. Its methods are for one goroutine.
type Delivery struct {
	Req     *mailproto.DeliveryRequest
	File    *os.File // the queue file, with a shared lock
	Queue   *queue.Queue
	Log     *maillog.Logger
	Env     *service.Env
	Service string // master.cf name of the service

	frame *frame
	done  map[*mailproto.Recipient]bool
	hop   dsn.Status
	retry bool
	read  bool // the content was read, or begun to
}

// settings are the parameters that every agent reads.
type settings struct {
	BounceService string        `conf:"bounce_service_name"`
	DeferService  string        `conf:"defer_service_name"`
	TraceService  string        `conf:"trace_service_name"`
	VerifyService string        `conf:"address_verify_service_name"`
	SoftBounce    bool          `conf:"soft_bounce"`
	IPCTimeout    time.Duration `conf:"ipc_timeout"`
	DaemonTimeout time.Duration `conf:"daemon_timeout"`
}

type frame struct {
	env     *service.Env
	set     settings
	deliver DeliverFunc
	report  reporter
	filter  *table.Maps // PROGRAM_delivery_status_filter; nil: none
	now     func() time.Time
}

// Main runs a delivery agent as a service. init opens what the agent needs and
// returns its deliver function and the files to watch. A recipient that deliver
// leaves without outcome is deferred with 4.3.0.
func Main(spec service.Spec, init func(env *service.Env) (DeliverFunc, []string, error)) {
	spec.Init = func(env *service.Env) (*service.Worker, error) {
		deliver, files, err := init(env)
		if err != nil {
			return nil, err
		}
		return NewWorker(env, deliver, files)
	}
	service.Main(spec)
}

// NewWorker is the worker that Main runs; tests serve it in process.
func NewWorker(env *service.Env, deliver DeliverFunc, files []string) (*service.Worker, error) {
	f := &frame{env: env, deliver: deliver, now: time.Now}
	if err := env.Config.Decode(&f.set); err != nil {
		return nil, err
	}
	f.report = socketReporter{set: f.set}
	if f.filter = openFilter(env); f.filter != nil {
		files = append(files, f.filter.Files()...)
	}
	return &service.Worker{Conn: f.serve, Files: files}, nil
}

// readers keeps the read buffers of sessions; a request seldom needs more.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

// serve handles one connection of qmgr: greeting, request, reply, then the peer
// closes (§2.6). qmgr may connect and close without a request: not worth a line.
func (f *frame) serve(ctx context.Context, s *service.Session) {
	var e attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoDelivery}.Append(&e)
	if _, err := s.Conn.Write(e.Bytes()); err != nil {
		return
	}
	br := readers.Get().(*bufio.Reader)
	br.Reset(s.Conn)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	req, err := mailproto.ReadDeliveryRequest(attr.NewDecoder(br, attr.Strict))
	if err != nil {
		if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			s.Log.Warnf("delivery request from qmgr: %v", err)
		}
		return
	}
	reply, err := f.handle(ctx, s, req)
	if errors.Is(err, errOrphan) {
		s.Log.Verbosef("%s: %v", req.QueueID, err)
		return
	}
	if err != nil {
		s.Log.Warnf("%s: %v", req.QueueID, err)
		return
	}
	e.Reset()
	reply.Append(&e)
	if _, err := s.Conn.Write(e.Bytes()); err != nil {
		s.Log.Warnf("%s: send delivery status to qmgr: %v", req.QueueID, err)
		return
	}
	s.Conn.SetReadDeadline(f.now().Add(f.set.IPCTimeout))
	br.ReadByte() // the peer closes first; what it sends means nothing
}

// errOrphan: the qmgr that sent the request is not there any more. Its successor,
// after a reload or a crash, may have sent the same recipients already, and would
// then deliver twice. From the lock on it cannot: it leaves alone what is locked.
var errOrphan = errors.New("qmgr is gone; its successor delivers the message")

// gone tells whether the peer of a socket has closed it.
func gone(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		for {
			n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			closed = n == 0 && err == nil || err != nil && err != unix.EAGAIN
			return
		}
	})
	return err != nil || closed
}

// handle delivers one request. An error means that nothing was done and qmgr
// gets no reply, so that it tries again later.
func (f *frame) handle(ctx context.Context, s *service.Session, req *mailproto.DeliveryRequest) (mailproto.DeliveryReply, error) {
	var none mailproto.DeliveryReply
	if !queue.ValidName(req.QueueName) || !queue.ValidID(req.QueueID) {
		return none, fmt.Errorf("malformed queue name or id in delivery request: %q %q", req.QueueName, req.QueueID)
	}
	file, err := f.env.Queue.Open(req.QueueName, req.QueueID, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, queue.ErrNotReady) {
		// The administrator took it away, or another delivery found it damaged: that
		// is no fault of this service, whose other mail shall not wait.
		s.Log.Warnf("%s: not delivered: open %s: %v", req.QueueID, req.QueueName, err)
		return mailproto.DeliveryReply{Retry: true}, nil
	}
	if err != nil {
		return none, fmt.Errorf("open %s %s: %w", req.QueueName, req.QueueID, err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return none, fmt.Errorf("shared lock %s %s: %w", req.QueueName, req.QueueID, err)
	}
	if gone(s.Conn) {
		return none, errOrphan
	}
	if req.Stats.AgentHandoff.IsZero() {
		req.Stats.AgentHandoff = f.now()
	}
	ctx, cancel := context.WithTimeout(ctx, f.set.DaemonTimeout)
	defer cancel()
	d := f.newDelivery(s.Log, req, file)
	f.deliver(ctx, d)
	for i := range req.Recipients {
		if rcpt := &req.Recipients[i]; !d.done[rcpt] {
			s.Log.Warnf("%s: no outcome for recipient %s; trying it again later", req.QueueID, rcpt.Addr)
			d.Deferred(ctx, Outcome{Recipient: rcpt, Relay: "none", Stats: req.Stats,
				Status: dsn.Status{Code: "4.3.0", Reason: "internal error: no delivery outcome"}})
		}
	}
	d.checkContent()
	return mailproto.DeliveryReply{DSN: d.hop, Retry: d.retry}, nil
}

// checkContent looks whether the message could not be delivered because it is
// damaged, and marks it for qmgr, which puts it into the corrupt queue (§4.9).
func (d *Delivery) checkContent() {
	if !d.retry || !d.read {
		return
	}
	err := queue.CheckContent(d.File, d.Req.DataOffset)
	if !errors.Is(err, queue.ErrCorrupt) {
		return
	}
	d.Log.Warnf("%s: corrupted queue file: %s: %v", d.Req.QueueID, d.File.Name(), err)
	if err := d.File.Chmod(queue.ModeCorrupt); err != nil {
		d.Log.Warnf("%s: cannot mark it: %v", d.Req.QueueID, err)
	}
}

func (f *frame) newDelivery(log *maillog.Logger, req *mailproto.DeliveryRequest, file *os.File) *Delivery {
	return &Delivery{
		Req: req, File: file, Queue: f.env.Queue, Log: log, Env: f.env,
		Service: f.env.ServiceName, frame: f,
		done: make(map[*mailproto.Recipient]bool, len(req.Recipients)),
	}
}

// HopStatus reports that the whole destination is unusable: qmgr stops sending
// mail there for a while and quotes s.Reason in what it defers (§2.6).
func (d *Delivery) HopStatus(s dsn.Status) {
	d.hop = dsn.Status{Code: s.Code, Reason: s.Reason}
	d.retry = true
}

// Content opens the message content.
func (d *Delivery) Content() *queue.Content {
	d.ReadsContent()
	return queue.NewContent(d.File, d.Req.DataOffset)
}

// ReadsContent tells that somebody reads the message from File: if it cannot be
// delivered, that may be because it is damaged.
func (d *Delivery) ReadsContent() { d.read = true }

// markDone overwrites the type byte of the recipient's record with D, so that
// it is not delivered again after a restart (§2.6). Not synced on purpose:
// after a crash a message may arrive twice, never not at all (DESIGN §5).
func (d *Delivery) markDone(r *mailproto.Recipient) {
	if d.Req.Flags&mailproto.DeliverSuccess == 0 || r.Offset < 0 {
		return
	}
	if _, err := d.File.WriteAt([]byte{'D'}, r.Offset); err != nil {
		d.Log.Warnf("%s: cannot mark recipient %s as done: %v", d.Req.QueueID, r.Addr, err)
		d.retry = true
	}
}
