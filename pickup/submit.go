package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/user"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/service"
	"sealpost/lib/submit"
	"sealpost/lib/table"
)

// maxPerUser bounds the submissions of one user at a time: a user must not be
// able to keep the others from submitting.
const maxPerUser = 20

// submitter is the service submit.
type submitter struct {
	*picker
	users *table.List

	mu     sync.Mutex
	active map[uint32]int // submissions by uid
}

func newSubmit(p *picker, env *service.Env) (*service.Worker, error) {
	users, err := table.OpenList(table.Env{Warnf: env.Log.Warnf}, "authorized_submit_users", p.set.SubmitUsers, table.Strings, false)
	if err != nil {
		return nil, fmt.Errorf("authorized_submit_users: %w", err)
	}
	s := &submitter{picker: p, users: users, active: make(map[uint32]int)}
	return &service.Worker{Conn: s.serve}, nil
}

func (s *submitter) serve(ctx context.Context, sess *service.Session) {
	uid, err := peerUID(sess.Conn)
	if err != nil {
		sess.Log.Warnf("submit: cannot tell who is connected: %v", err)
		return
	}
	if !s.enter(uid) {
		sess.Log.Warnf("submit: uid=%d has %d submissions open; refusing another one", uid, maxPerUser)
		return
	}
	defer s.leave(uid)
	var e attr.Encoder
	mailproto.Greeting{Protocol: mailproto.ProtoPostdrop}.Append(&e)
	if _, err := sess.Conn.Write(e.Bytes()); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.set.DaemonTimeout)
	defer cancel()
	reply, err := s.receive(ctx, sess, uid)
	if err != nil {
		sess.Log.Warnf("submit: uid=%d: %v", uid, err)
	}
	e.Reset()
	reply.Append(&e)
	sess.Conn.SetWriteDeadline(s.now().Add(s.set.IPCTimeout))
	sess.Conn.Write(e.Bytes()) // a submitter that is gone tries again
}

// receive takes one message. An error is for the log; the reply is for the user.
func (s *submitter) receive(ctx context.Context, sess *service.Session, uid uint32) (mailproto.CleanupReply, error) {
	if ok, err := s.allowed(ctx, uid); err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupDefer, Reason: "cannot check authorized_submit_users"}, err
	} else if !ok {
		return mailproto.CleanupReply{Status: mailproto.CleanupNoPerm, Reason: fmt.Sprintf("user with id %d is not allowed to submit mail", uid)},
			errors.New("not in authorized_submit_users")
	}
	src := &checkedSource{
		r:   record.NewReader(bufio.NewReaderSize(&pausing{sess.Conn, s.set.IPCTimeout, s.now}, 16<<10), s.set.LineLimit),
		log: sess.Log, uid: uid,
	}
	// The first record comes before anything is made for this client.
	if err := src.peek(); err != nil {
		return refused(err)
	}
	c, err := mailclient.DialCleanup(ctx, s.cleanupPath(), s.cleanupFlags(false))
	if err != nil {
		return mailproto.CleanupReply{Status: mailproto.CleanupWrite, Reason: "mail system is busy"}, err
	}
	sub := &submission{p: s.picker, log: sess.Log, uid: int(uid), arrival: s.now()}
	reply, err := sub.finish(ctx, src, c)
	if err != nil {
		return refused(err)
	}
	return reply, nil
}

// refused makes the answer to a stream that was not accepted.
func refused(err error) (mailproto.CleanupReply, error) {
	if truncated(err) {
		return mailproto.CleanupReply{Status: mailproto.CleanupBad, Reason: "message is not complete"}, nil
	}
	for _, e := range [...]error{submit.ErrType, submit.ErrPayload, submit.ErrIncomplete, submit.ErrLimit, record.ErrFraming, record.ErrTooLong, errRecord, errNoSender} {
		if errors.Is(err, e) {
			return mailproto.CleanupReply{Status: mailproto.CleanupBad, Reason: err.Error()}, err
		}
	}
	return mailproto.CleanupReply{Status: mailproto.CleanupWrite, Reason: "mail system is busy"}, err
}

// allowed matches the user's name, or number where there is no name.
func (s *submitter) allowed(ctx context.Context, uid uint32) (bool, error) {
	if s.set.SubmitUsers == "static:anyone" {
		return true, nil
	}
	name := strconv.Itoa(int(uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return s.users.Match(ctx, name)
}

func (s *submitter) enter(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[uid] >= maxPerUser {
		return false
	}
	s.active[uid]++
	return true
}

func (s *submitter) leave(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[uid]--; s.active[uid] == 0 {
		delete(s.active, uid)
	}
}

// peerUID asks the kernel who opened the connection.
func peerUID(c net.Conn) (uint32, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, cerr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// pausing renews the read deadline before each read.
type pausing struct {
	net.Conn
	limit time.Duration
	now   func() time.Time
}

func (p *pausing) Read(b []byte) (int, error) {
	p.SetReadDeadline(p.now().Add(p.limit))
	return p.Conn.Read(b)
}

// checkedSource passes the records that the rules of package submit keep.
type checkedSource struct {
	r      *record.Reader
	check  submit.Checker
	log    *maillog.Logger
	uid    uint32
	peeked bool
	typ    record.Type
	data   []byte
}

func (s *checkedSource) peek() error {
	t, data, err := s.next()
	s.typ, s.data, s.peeked = t, append([]byte(nil), data...), true
	return err
}

func (s *checkedSource) Read() (record.Type, []byte, error) {
	if s.peeked {
		s.peeked = false
		return s.typ, s.data, nil
	}
	return s.next()
}

func (s *checkedSource) next() (record.Type, []byte, error) {
	for {
		t, data, err := s.r.Read()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, nil, err
		}
		keep, note, err := s.check.Accept(t, data)
		if err != nil {
			return 0, nil, err
		}
		if note != "" {
			s.log.Warnf("submit: uid=%d: %s", s.uid, note)
		}
		if keep {
			return t, data, nil
		}
	}
}
